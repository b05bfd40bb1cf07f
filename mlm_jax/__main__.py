"""The command table: `python -m mlm_jax COMMAND ...`."""

import argparse
import dataclasses
import math
import os
import runpy
import sys
from collections.abc import Callable

# Before TensorFlow and JAX are imported: their start-up chatter tells a user
# nothing. TensorFlow computes integers only, for which oneDNN has no use.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from mlm_jax import config as config_lib
from mlm_jax.config import Config, InputError, require, unknown
from mlm_jax.progress import Progress
from mlm_jax.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Command:
  """A row of the table.

  Attributes:
    run: takes the parsed arguments, and the configuration if it wants one.
    about: one line of help.
    configured: does it take --config?
    arguments: what it takes beside --workdir, as argparse has it.
  """

  run: Callable[..., None]
  about: str
  configured: bool = False
  arguments: tuple[tuple[str, dict], ...] = ()


def prepare(args, config: Config) -> None:
  from mlm_jax.data.prepare import prepare

  workdir = Workdir.at(args.workdir)
  workdir.check(config)
  prepare(config, workdir)
  workdir.save_config(config)


def train(args, config: Config) -> None:
  _join_processes(args)
  import jax

  from mlm_jax.data import pipeline, prepare
  from mlm_jax.evaluation import heldout
  from mlm_jax.training import loop, partitioning
  from mlm_jax.training.run import Run

  workdir = Workdir.at(args.workdir)
  workdir.check(config)
  # What is wrong with the mesh should not be learnt after hours of preparing.
  mesh = partitioning.make_mesh(config)
  if jax.process_index() == 0:
    tokenizer, store = prepare.prepare(config, workdir)
    workdir.save_config(config)
  partitioning.wait_for_all("prepared")
  if jax.process_index() > 0:
    tokenizer, store = prepare.load(config, workdir)
  run = Run(config, tokenizer.vocabulary, mesh)

  def batches_from(step):
    return pipeline.train_batches(
      config, store, run.vocab, first_step=step, local_rows=run.local_rows
    ).as_numpy_iterator()

  evaluate = None
  if config.data.heldout_fraction:
    evaluate = heldout.evaluator(run, store)
  loop.train(run, workdir, batches_from, evaluate)


def evaluate(args) -> None:
  from mlm_jax.data import prepare
  from mlm_jax.evaluation import heldout

  workdir = Workdir.at(args.workdir)
  config = _here(workdir.load_config())
  require(
    config.data.heldout_fraction > 0,
    f"{workdir.root} holds nothing out: data.heldout_fraction is 0",
  )
  run, params, _ = _restore(workdir, config, args.checkpoint)
  _, store = prepare.load(config, workdir)
  values = heldout.evaluator(run, store)(params)
  entropy = store.info["heldout"].unigram_entropy
  gain = entropy - values["loss"]
  say = Progress().say
  say(f"held-out loss      {values['loss']:.3f} nats a token")
  say(f"held-out accuracy  {values['accuracy']:.1%}")
  say(
    f"unigram entropy    {entropy:.3f} nats, the least that word frequencies "
    f"alone can reach"
  )
  side = "under" if gain > 0 else "over"
  say(f"the model is {abs(gain):.2f} nats {side} it")


def fill_mask(args) -> None:
  from mlm_jax.evaluation import fill_mask as fill

  workdir = Workdir.at(args.workdir)
  config = _here(workdir.load_config())
  run, params, tokenizer = _restore(workdir, config, args.checkpoint)
  say = Progress().say

  def answer(text):
    guesses = fill.fill_mask(run, params, tokenizer, text, args.top_k)
    say("\n".join(fill.describe(text, guesses)))

  for text in args.text or ():
    answer(text)
  while args.interactive or not args.text:
    try:
      text = input("text with [MASK] (empty to end)> ")
    except EOFError:
      text = ""
    if not text:
      return
    try:
      answer(text)
    except InputError as error:
      say(str(error))


def _here(config: Config) -> Config:
  """Returns a work directory's configuration for the devices at hand."""
  return dataclasses.replace(
    config,
    mesh=config_lib.MeshConfig(),
    train=dataclasses.replace(config.train, microbatches=1),
  )


def _restore(workdir: Workdir, config: Config, checkpoint: str):
  import jax

  from mlm_jax.data.tokenizer import Tokenizer
  from mlm_jax.training.checkpoint import Checkpoints
  from mlm_jax.training.run import Run

  tokenizer = Tokenizer.load(workdir.tokenizer)
  # As many devices as divide a batch.
  num_devices = math.gcd(config.train.batch_size, jax.device_count())
  run = Run.on(config, tokenizer.vocabulary, jax.devices()[:num_devices])
  with Checkpoints(workdir) as checkpoints:
    params = checkpoints.restore_params(run.abstract_state.params, checkpoint)
  return run, params, tokenizer


def _join_processes(args) -> None:
  import jax

  given = (args.coordinator, args.num_processes, args.process_id)
  if given != (None, None, None):
    require(
      None not in given,
      "--coordinator, --num_processes and --process_id belong together",
    )
  elif args.multihost:
    given = ()  # TPU pods and SLURM tell.
  else:
    return
  try:
    jax.distributed.initialize(*given)
  except (RuntimeError, ValueError) as error:
    reason = str(error).strip().partition("\n")[0]
    raise InputError(f"cannot join the other processes: {reason}") from error


CHECKPOINT = (
  "--checkpoint",
  {
    "default": "last",
    "metavar": "last|best|STEP",
    "help": "which one to use; best has the lowest held-out loss",
  },
)

COMMANDS = {
  "prepare": Command(
    prepare,
    "train the tokenizer and write the rows of a corpus",
    configured=True,
  ),
  "train": Command(
    train,
    "pre-train, or continue from the last checkpoint",
    configured=True,
    arguments=(
      ("--multihost", {"action": "store_true",
        "help": "one of several processes, on a TPU pod or under SLURM"}),
      ("--coordinator", {"metavar": "HOST:PORT",
        "help": "one of several processes, anywhere: the first one's address"}),
      ("--num_processes", {"type": int, "help": "with --coordinator"}),
      ("--process_id", {"type": int, "help": "with --coordinator, from 0"}),
    ),
  ),
  "evaluate": Command(
    evaluate,
    "measure the loss on held-out documents",
    arguments=(CHECKPOINT,),
  ),
  "fill_mask": Command(
    fill_mask,
    "guess the [MASK]s of a text",
    arguments=(
      CHECKPOINT,
      ("--text", {"action": "append",
        "help": 'for example "Paris is the [MASK] of France."; repeatable'}),
      ("--top_k", {"type": int, "default": 5, "help": "guesses a mask"}),
      ("--interactive", {"action": "store_true",
        "help": "ask for texts; so it does where none is given"}),
    ),
  ),
}  # fmt: skip


def main(argv: list[str]) -> int:
  try:
    if not argv or argv[0] in ("-h", "--help"):
      _print_commands()
      return 0
    name, *rest = argv
    if name not in COMMANDS:
      raise unknown("command", name, COMMANDS)
    command = COMMANDS[name]
    args, overrides = _parser(name, command).parse_known_args(rest)
    if command.configured:
      config = _load_config(args.config, overrides)
      _quiet()
      command.run(args, config)
    else:
      if overrides:
        raise InputError(f"{name} does not know {overrides[0]!r}")
      _quiet()
      command.run(args)
  except InputError as error:
    print(f"mlm_jax: {error}", file=sys.stderr)
    return 2
  return 0


def _print_commands():
  print("usage: python -m mlm_jax COMMAND [--help] ...\n")
  for name, command in COMMANDS.items():
    print(f"  {name:<10} {command.about}")


class _Parser(argparse.ArgumentParser):
  def error(self, message):
    raise InputError(f"{message}; see python -m {self.prog} --help")


def _parser(name: str, command: Command) -> argparse.ArgumentParser:
  parser = _Parser(
    prog=f"mlm_jax {name}", description=command.about, allow_abbrev=False
  )
  if command.configured:
    parser.add_argument(
      "--config",
      required=True,
      metavar="FILE",
      help="a recipe such as configs/bert_base.py; override any key of it with "
      "--config.GROUP.KEY=VALUE (mlm_jax/config.py explains them all)",
    )
  parser.add_argument("--workdir", required=True, help="the work directory")
  for flag, options in command.arguments:
    parser.add_argument(flag, **options)
  return parser


def _load_config(path: str, overrides: list[str]) -> Config:
  """Reads a recipe and its overrides, the way ml_collections' flags do."""
  from absl import flags
  from ml_collections import config_flags

  for override in overrides:
    key = override.partition("=")[0].removeprefix("--")
    if not key.startswith("config."):
      raise InputError(f"unknown argument {override!r}")
    config_lib.check_key(key.removeprefix("config."))
  argv = ["mlm_jax", *overrides]
  values = flags.FlagValues()
  holder = config_flags.DEFINE_config_dict(
    "config", _recipe(path), flag_values=values, sys_argv=argv
  )
  try:
    values(argv)
  except (flags.Error, ValueError, TypeError) as error:
    raise InputError(str(error).strip().partition("\n")[0]) from error
  return config_lib.build(holder.value)


def _recipe(path: str):
  """Returns what a recipe, a Python file with a `get_config`, asks for."""
  import ml_collections

  if not os.path.isfile(path):
    raise InputError(f"no recipe at {path}")
  try:
    recipe = runpy.run_path(path)
    values = recipe["get_config"]() if "get_config" in recipe else None
  except Exception as error:  # Whatever a recipe may raise.
    # ml_collections names the nearest key last, within a KeyError's quotes.
    while error.args and isinstance(error.args[0], Exception):
      error = error.args[0]
    text = error.args[0] if isinstance(error, KeyError) else error
    lines = str(text).strip().splitlines() or [type(error).__name__]
    raise InputError(f"{path}: {lines[-1]}") from error
  if not isinstance(values, ml_collections.ConfigDict):
    raise InputError(
      f"{path} needs a get_config() that returns a ConfigDict, not {values!r}"
    )
  return values


def _quiet() -> None:
  """Keeps libraries' logs off the screen, but for errors."""
  import logging
  import warnings

  import absl.logging
  import jax

  absl.logging.set_verbosity(absl.logging.ERROR)
  logging.getLogger("jax").setLevel(logging.ERROR)
  warnings.simplefilter("ignore")
  # Orbax leaves coroutines behind when a broken file ends its reading.
  sys.unraisablehook = lambda unraisable: None
  cache = os.path.expanduser("~/.cache/mlm_jax/xla")
  if not jax.config.jax_compilation_cache_dir:
    jax.config.update("jax_compilation_cache_dir", cache)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
