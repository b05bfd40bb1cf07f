"""The commands that look at a recipe; they import what they need when run."""

import dataclasses
import json
import pathlib
import sys

from mlm_jax.config import Config
from mlm_jax.errors import require, unknown
from mlm_jax.phases import Phase, Recipe
from mlm_jax.workdir import Workdir


def _phase(args, recipe: Recipe) -> Phase:
  """Returns the phase called --phase, by default the first."""
  by_name = {phase.name: phase for phase in recipe.phases}
  name = args.phase or recipe.phases[0].name
  if name not in by_name:
    raise unknown("--phase", name, by_name)
  return by_name[name]


def show_corruption(args, recipe: Recipe) -> None:
  import rich.console

  from mlm_jax.data.corruption import preview

  config = _phase(args, recipe).config
  console = rich.console.Console(highlight=False, soft_wrap=True)
  tokenizer = _some_tokenizer(args, config, console.print)
  require(args.times > 0, f"--times must be positive, not {args.times}")
  require(
    config.corruption.sentence_pairs != "nsp" or len(args.text) > 1,
    "corruption.sentence_pairs='nsp' takes sentences of other texts: give "
    "--text twice",
  )
  for text, after in zip(args.text, args.text[1:] + args.text[:1], strict=True):
    for line in preview.show(config, tokenizer, text, args.times, after):
      console.print(line)


def _some_tokenizer(args, config: Config, say):
  """Returns the run's tokenizer if there is one, else one that will do."""
  from etils import epath

  from mlm_jax.data import tokenizers

  data = config.data
  if args.workdir and Workdir.at(args.workdir).tokenizer.exists():
    path = Workdir.at(args.workdir).tokenizer
    return tokenizers.load(path, data.vocab_size)
  if not data.trains_tokenizer:
    path = epath.Path(data.tokenizer).expanduser()
    return tokenizers.load(path, data.vocab_size)
  # English text that comes with Python.
  from pydoc_data.topics import topics

  data = dataclasses.replace(data, tokenizer="bpe", vocab_size=3000)
  say(
    f"No tokenizer yet: showing with {data.vocab_size:,} pieces learnt from "
    "Python's documentation. --workdir=DIR takes a run's own.\n"
  )
  return tokenizers.train(topics.values(), data)


# How a level is shown.
_STYLES = {"ok": "green", "look": "bold yellow", "stop": "bold white on red"}


def doctor(args, recipe: Recipe) -> None:
  import rich.console
  import rich.table
  import rich.text

  from mlm_jax.tools import doctor as doctor_lib
  from mlm_jax.tools import tpus

  workdir = Workdir.at(args.workdir) if args.workdir else None
  if workdir:
    recipe, _ = workdir.adapt(recipe)
    workdir.check(recipe)
  topology = tpus.topology(args.topology) if args.topology else ""
  console = rich.console.Console(highlight=False)
  levels = set()
  for finding in doctor_lib.examine(recipe, workdir, topology):
    levels.add(finding.level)
    if args.json:
      print(json.dumps(dataclasses.asdict(finding)), flush=True)
      continue
    table = rich.table.Table.grid(padding=(0, 2), pad_edge=False)
    table.add_column(width=4)
    table.add_column(width=20)
    table.add_column()
    level = rich.text.Text(finding.level, _STYLES[finding.level])
    table.add_row(
      level, rich.text.Text(finding.name), rich.text.Text(finding.text)
    )
    console.print(table)
  if "stop" in levels:
    raise SystemExit(1)


def compile_check(args, recipe: Recipe | None) -> None:
  from mlm_jax.tools import (
    compile_report,
    compile_subprocess,
    compile_table,
    tpus,
  )

  if recipe and args.workdir:
    Workdir.at(args.workdir).check(recipe)
  rows = args.per_device_batch
  require(rows >= 0, f"--per_device_batch must be positive, not {rows}")
  topologies = args.topology or ["v5e:4x4", "v5p:2x2x2"]
  topologies = [tpus.topology(name) for name in topologies]
  if recipe is None:
    out = pathlib.Path("bench/results/tpu_compile.md")
    compile_table.write(topologies, out, print)
    return
  # Scripts read the report from standard output.
  say = lambda line: print(line, file=sys.stderr, flush=True)
  config = _phase(args, recipe).config
  fit = True
  for topology in topologies:
    report = compile_subprocess.check(
      dataclasses.asdict(config),
      topology,
      recipe=recipe.path,
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
