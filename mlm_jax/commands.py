"""What the commands do. Their imports wait until they are needed."""

import dataclasses
import json
import pathlib
import sys

from mlm_jax import config as config_lib
from mlm_jax import recipe
from mlm_jax.config import Config
from mlm_jax.errors import InputError, require, unknown
from mlm_jax.host_memory import keep_freed_memory
from mlm_jax.progress import Progress
from mlm_jax.workdir import Workdir

# What `train` exits with when it was stopped: of sysexits.h, "try again". Launchers
# tell it from the end of a run.
STOPPED = 75


def prepare(args, config: Config) -> None:
  from mlm_jax.data.prepare import prepare

  workdir = Workdir.at(args.workdir)
  workdir.check(config)
  prepare(config, workdir)
  workdir.save_config(config)


def train(args, config: Config) -> None:
  keep_freed_memory()
  _join_processes(args)
  import jax

  from mlm_jax.data import pipeline, prepare
  from mlm_jax.data.host_tensorflow import iterate
  from mlm_jax.evaluation import heldout
  from mlm_jax.training import loop, partitioning
  from mlm_jax.training.run import Run

  workdir = Workdir.at(args.workdir)
  workdir.check(config)
  # What is wrong with the mesh should not be learnt after hours of preparing.
  mesh = partitioning.make_mesh(config)
  if jax.process_index() == 0:
    for key, (old, new) in workdir.changed(config).items():
      print(f"{key} is {new!r} from here on, and was {old!r}")
    tokenizer, store = prepare.prepare(config, workdir)
    workdir.save_config(config)
  partitioning.wait_for_all("prepared")
  if jax.process_index() > 0:
    tokenizer, store = prepare.load(config, workdir)
  run = Run(config, tokenizer.vocabulary, mesh)

  def batches_from(step):
    return iterate(
      pipeline.train_batches(
        config, store, run.vocab, first_step=step, local_rows=run.local_rows
      )
    )

  evaluate = None
  if config.data.heldout_fraction:
    evaluate = heldout.evaluator(run, store)
  if not loop.train(run, workdir, batches_from, evaluate):
    raise SystemExit(STOPPED)


def show_config(args, config: Config) -> None:
  if args.workdir:
    Workdir.at(args.workdir).check(config)
  values, defaults = config_lib.flat(config), config_lib.flat(Config())
  width = max(map(len, values))
  for key, value in values.items():
    line = f"{key:<{width}}  {value!r}"
    if value != defaults[key]:
      line += f"  (not {defaults[key]!r})"
    print(line)


def show_corruption(args, config: Config) -> None:
  import rich.console

  from mlm_jax.data.corruption import showing

  console = rich.console.Console(highlight=False, soft_wrap=True)
  tokenizer = _some_tokenizer(args, config, console.print)
  require(args.times > 0, f"--times must be positive, not {args.times}")
  require(
    config.corruption.sentence_pairs != "nsp" or len(args.text) > 1,
    "corruption.sentence_pairs='nsp' takes sentences of other texts: give --text "
    "twice",
  )
  for text, after in zip(args.text, args.text[1:] + args.text[:1], strict=True):
    for line in showing.show(config, tokenizer, text, args.times, after):
      console.print(line)


def _some_tokenizer(args, config: Config, say):
  """Returns the run's tokenizer if there is one, else one that will do."""
  from etils import epath

  from mlm_jax.data import tokenizer as tokenizer_lib

  data = config.data
  if args.workdir and Workdir.at(args.workdir).tokenizer.exists():
    path = Workdir.at(args.workdir).tokenizer
    return tokenizer_lib.load(path, data.vocab_size)
  if data.tokenizer not in ("unigram", "bpe"):
    path = epath.Path(data.tokenizer).expanduser()
    return tokenizer_lib.load(path, data.vocab_size)
  # English that every Python holds.
  from pydoc_data.topics import topics

  data = dataclasses.replace(data, tokenizer="bpe", vocab_size=3000)
  say(
    f"No tokenizer yet: showing with {data.vocab_size:,} pieces learnt from "
    "Python's documentation. --workdir=DIR takes a run's own.\n"
  )
  return tokenizer_lib.train(topics.values(), data)


# What a term is called where a person reads of it.
_TERMS = {
  "rtd": "replaced tokens",
  "span_boundary": "from the borders",
  "pair": "sentence pairs",
  "causal_lm": "what comes next",
  "length": "lengths",
}


def evaluate(args) -> None:
  from mlm_jax.data import prepare
  from mlm_jax.evaluation import heldout
  from mlm_jax.evaluation.restoring import restore
  from mlm_jax.objectives.objective import of_tokens

  workdir = Workdir.at(args.workdir)
  config = workdir.load_config()
  require(
    config.data.heldout_fraction > 0,
    f"{workdir.root} holds nothing out: data.heldout_fraction is 0",
  )
  require(
    config.objective.name == "mlm" or not (args.discrepancy or args.passes > 1),
    "--discrepancy and --passes are of masked language models, not of "
    f"{config.objective.name}",
  )
  run, params, _, _ = restore(workdir, args.checkpoint)
  _, store = prepare.load(config, workdir)
  values = heldout.evaluator(run, store)(params)
  entropy = store.info["heldout"].unigram_entropy
  say = Progress().say
  loss, accuracy = of_tokens(values, run.objective)
  say(f"held-out loss      {loss:.3f} nats a token")
  say(f"held-out accuracy  {accuracy:.1%}")
  # Sentinels come in order: a text of them is told by less than its words are.
  if config.corruption.kind != "span_corruption":
    say(
      f"unigram entropy    {entropy:.3f} nats, the least that word frequencies "
      f"alone can reach"
    )
    side = "under" if loss < entropy else "over"
    say(f"the model is {abs(entropy - loss):.2f} nats {side} it")
  for term in run.terms:
    if term != run.objective.tells:
      loss, accuracy = values[f"{term}_loss"], values[f"{term}_accuracy"]
      say(f"{_TERMS[term]:<17}  {loss:.3f} nats, {accuracy:.1%} told right")
  if args.passes > 1:
    found = heldout.joint(run, store, params, args.passes)
    say("the targets of a row together, where each pass sees those before")
    for passes, loss in found.items():
      say(f"  {passes:>2} passes         {loss:.3f} nats a token")
  if args.discrepancy:
    say("loss at the same places, where the model is shown")
    for shown, loss in heldout.discrepancy(run, store, params).items():
      say(f"  {shown:<17}{loss:.3f}")


def fill_mask(args) -> None:
  from mlm_jax.evaluation import fill_mask as fill
  from mlm_jax.evaluation.restoring import restore

  workdir = Workdir.at(args.workdir)
  config = workdir.load_config()
  require(
    config.corruption.masks,
    "fill_mask is for models that fill in masks; this one was trained with "
    f"objective.name={config.objective.name!r}",
  )
  run, params, tokenizer, _ = restore(workdir, args.checkpoint)
  say = Progress().say

  def answer(text):
    guesses = fill.fill_mask(
      run, params, tokenizer, text, args.top_k, args.passes
    )
    say("\n".join(fill.describe(text, guesses, tokenizer.mask_token)))

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


def mask_predict(args) -> None:
  from mlm_jax.evaluation import mask_predict as predict
  from mlm_jax.evaluation.restoring import restore

  workdir = Workdir.at(args.workdir)
  config = workdir.load_config()
  require(
    config.objective.name == "cmlm",
    "mask_predict is for encoder-decoders of objective.name='cmlm', not "
    f"{config.objective.name!r}; fill_mask --passes is for encoders",
  )
  run, params, tokenizer, _ = restore(workdir, args.checkpoint)
  say = Progress().say
  for text in args.text:
    said, log_probability = predict.mask_predict(
      run, params, tokenizer, text, args.passes, args.lengths
    )
    say(f"{said}\n  {-log_probability:.2f} nats a token")


def embed(args) -> None:
  from mlm_jax.evaluation.embed import embed_file
  from mlm_jax.evaluation.restoring import restore

  workdir = Workdir.at(args.workdir)
  embed_file(
    args.texts,
    args.out,
    lambda: restore(workdir, args.checkpoint)[:3],
    pool=args.pool,
    batch_size=args.batch_size,
  )


def export_hf(args) -> None:
  from mlm_jax.evaluation.restoring import restore
  from mlm_jax.hf.exporting import export

  workdir = Workdir.at(args.workdir)
  config = workdir.load_config()
  require(
    config.objective.name != "causal_lm",
    "export_hf has no class for an encoder that sees only what comes before",
  )
  run, params, tokenizer, step = restore(workdir, args.checkpoint)
  parts = run.parts(params)
  part = args.part or next(iter(parts))
  if part not in parts:
    raise unknown("--part", part, parts)
  export(
    workdir,
    run.config,
    *parts[part],
    tokenizer,
    pathlib.Path(args.out).expanduser(),
    step=step,
    family_name=args.family,
    check=not args.no_parity,
  )


def import_hf(args) -> None:
  from mlm_jax.hf.importing import Changes, import_model

  larger = recipe.load(recipe.read(args.grow_to), []) if args.grow_to else None
  import_model(
    args.source,
    Workdir.at(args.workdir),
    Changes(
      add_mask_token=args.add_mask_token,
      new_head=args.new_head,
      tokens=args.add_tokens,
      max_positions=args.max_positions,
      rope_theta=args.rope_theta,
      larger=larger and larger.model,
    ),
    check=not args.no_parity,
  )


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


def compile_check(args, config: Config | None) -> None:
  from mlm_jax.tools import compile_report, tpus

  if config and args.workdir:
    Workdir.at(args.workdir).check(config)
  rows = args.per_device_batch
  require(rows >= 0, f"--per_device_batch must be positive, not {rows}")
  topologies = args.topology or ["v5e:4x4", "v5p:2x2x2"]
  topologies = [tpus.topology(name) for name in topologies]
  if config is None:
    out = pathlib.Path("bench/results/tpu_compile.md")
    compile_report.write_all(topologies, out, print)
    return
  # Of standard output, a script reads the report.
  say = lambda line: print(line, file=sys.stderr, flush=True)
  fit = True
  for topology in topologies:
    report = compile_report.ask(
      dataclasses.asdict(config),
      topology,
      per_device_batch=rows,
      find_batch=args.find_batch,
      remedies=not rows,
      say=say,
    )
    fit = fit and report["fits"]
    if args.json:
      print(json.dumps(report))
    else:
      price = args.price_per_chip_hour
      print("\n".join(compile_report.lines(report, price)), flush=True)
  if not fit:
    raise SystemExit(1)  # For scripts.
