"""The command table: `python -m mlm_jax COMMAND ...`."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable

# Before TensorFlow and JAX are imported: their start-up chatter tells a user
# nothing. TensorFlow computes integers only, for which oneDNN has no use.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import ml_collections

from mlm_jax import commands, recipe
from mlm_jax.errors import InputError, require, unknown
from mlm_jax.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Command:
  """A row of the table.

  Attributes:
    run: takes the parsed arguments, and the configuration if it wants one.
    about: one line of help.
    configured: does it take --config?
    needs_workdir: must --workdir be given?
    arguments: what it takes beside these, as argparse has it.
  """

  run: Callable[..., None]
  about: str
  configured: bool = False
  needs_workdir: bool = True
  arguments: tuple[tuple[str, dict], ...] = ()


CHECKPOINT = (
  "--checkpoint",
  {
    "default": "last",
    "metavar": "last|best|STEP",
    "help": "which one to use; best has the lowest held-out loss",
  },
)

NO_PARITY = (
  "--no-parity",
  {
    "action": "store_true",
    "help": "do not compare the logits of the two models",
  },
)

COMMANDS = {
  "prepare": Command(
    commands.prepare,
    "train the tokenizer and write the rows of a corpus",
    configured=True,
  ),
  "train": Command(
    commands.train,
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
  "show_corruption": Command(
    commands.show_corruption,
    "show what a recipe hides of a text",
    configured=True,
    needs_workdir=False,
    arguments=(
      ("--text", {"action": "append", "required": True,
        "help": "a document; repeatable"}),
      ("--times", {"type": int, "default": 3, "metavar": "N",
        "help": "corruptions of each text"}),
    ),
  ),
  "compile_check": Command(
    commands.compile_check,
    "compile the training step for a TPU that is not there",
    configured=True,
    needs_workdir=False,
    arguments=(
      ("--topology", {"action": "append", "metavar": "v5e:4x4",
        "help": "a TPU slice; repeatable"}),
      ("--per_device_batch", {"type": int, "default": 0, "metavar": "ROWS",
        "help": "of a device, without micro-batches; else as configured"}),
      ("--find_batch", {"action": "store_true",
        "help": "the most rows a device that fit"}),
      ("--price_per_chip_hour", {"type": float, "default": 0.0,
        "metavar": "PRICE", "help": "tell what all steps would cost"}),
      ("--json", {"action": "store_true", "help": "a line for each slice"}),
      ("--all", {"action": "store_true",
        "help": "all of configs/, to bench/results/tpu_compile.md"}),
    ),
  ),
  "evaluate": Command(
    commands.evaluate,
    "measure the loss on held-out documents",
    arguments=(
      CHECKPOINT,
      ("--discrepancy", {"action": "store_true",
        "help": "also with the token itself, or a random one, for [MASK]"}),
      ("--passes", {"type": int, "default": 1, "metavar": "T",
        "help": "also of a row's targets together, told in up to T passes"}),
    ),
  ),
  "fill_mask": Command(
    commands.fill_mask,
    "guess the [MASK]s of a text",
    arguments=(
      CHECKPOINT,
      ("--text", {"action": "append",
        "help": 'for example "Paris is the [MASK] of France."; repeatable'}),
      ("--top_k", {"type": int, "default": 5, "help": "guesses a mask"}),
      ("--passes", {"type": int, "default": 1, "metavar": "T",
        "help": "fill several masks in T passes, the surest first"}),
      ("--interactive", {"action": "store_true",
        "help": "ask for texts; so it does where none is given"}),
    ),
  ),
  "mask_predict": Command(
    commands.mask_predict,
    "mend a text, all of it at once, in a few passes",
    arguments=(
      CHECKPOINT,
      ("--text", {"action": "append", "required": True,
        "help": "[MASK] may stand for any number of words; repeatable"}),
      ("--passes", {"type": int, "default": 10, "metavar": "T",
        "help": "the least sure words are told again in each"}),
      ("--lengths", {"type": int, "default": 5, "metavar": "N",
        "help": "to try; the likeliest with its words is taken"}),
    ),
  ),
  "embed": Command(
    commands.embed,
    "turn each line of a file into a vector",
    arguments=(
      CHECKPOINT,
      ("--texts", {"required": True, "metavar": "FILE",
        "help": "one text a line"}),
      ("--out", {"required": True, "metavar": "OUT.npy",
        "help": "float32 [texts, width]"}),
      ("--pool", {"choices": ("mean", "start"), "default": "mean",
        "help": "the mean over a text's tokens, or its first vector"}),
      ("--batch_size", {"type": int, "default": 64, "help": "texts at a time"}),
    ),
  ),
  "export_hf": Command(
    commands.export_hf,
    "write the model as Hugging Face's transformers reads it",
    arguments=(
      CHECKPOINT,
      ("--out", {"required": True, "metavar": "FOLDER", "help": "to be made"}),
      ("--family", {"default": "", "metavar": "NAME",
        "help": "such as roberta, where several families would do"}),
      ("--part", {"default": "", "metavar": "NAME",
        "help": "of a model of several, such as generator; the first else"}),
      NO_PARITY,
    ),
  ),
  "import_hf": Command(
    commands.import_hf,
    "make a work directory of a Hugging Face model, to train it on",
    arguments=(
      ("--from", {"required": True, "dest": "source", "metavar": "MODEL",
        "help": "a folder, or a name on the hub"}),
      ("--add_tokens", {"default": "", "metavar": "FILE",
        "help": "give the words of this file, one a line, ids of their own"}),
      ("--add_mask_token", {"action": "store_true",
        "help": "give a tokenizer without a mask token one"}),
      ("--new_head", {"action": "store_true",
        "help": "begin with a random head, where the model has none"}),
      ("--max_positions", {"type": int, "default": 0, "metavar": "N",
        "help": "read longer documents"}),
      ("--rope_theta", {"type": float, "default": 0.0, "metavar": "BASE",
        "help": "another base of the rotary positions of global layers"}),
      ("--grow_to", {"default": "", "metavar": "FILE",
        "help": "as deep and wide as this recipe's model, by tiling"}),
      NO_PARITY,
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
      # All recipes are none.
      every = getattr(args, "all", False)
      config = None if every else recipe.load(_values(args), overrides)
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
  width = max(map(len, COMMANDS))
  for name, command in COMMANDS.items():
    print(f"  {name:<{width}} {command.about}")


def _values(args):
  """Returns the recipe that was asked for, or the work directory's own."""
  if args.config:
    return recipe.read(args.config)
  require(args.workdir, "--config=FILE or --workdir=DIR is needed")
  workdir = Workdir.at(args.workdir)
  require(
    workdir.config.exists(),
    f"--config=FILE is needed: {workdir.root} has no config.json yet",
  )
  return ml_collections.ConfigDict(
    dataclasses.asdict(workdir.load_config())
  ).lock()


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
      metavar="FILE",
      help="a recipe such as configs/bert_base.py, by default what the work "
      "directory was made with; override any key of it with "
      "--config.GROUP.KEY=VALUE (mlm_jax/config/ explains them all)",
    )
  parser.add_argument(
    "--workdir", required=command.needs_workdir, help="the work directory"
  )
  for flag, options in command.arguments:
    parser.add_argument(flag, **options)
  return parser


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
