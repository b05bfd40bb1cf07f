"""Trains small recipes, and records where their losses should be.

  python bench/reference_runs.py [--recipes=...] [--runs=runs/reference]
    [--text=NAME --config.data.corpus=... --config.train.steps=... ...]

Each recipe is trained as `train --config=NAME` trains it, in a process of its
own; one that has finished is not trained again. The text is what every Python
holds, and configs/references.json is written, by which `train` says what loss
to expect. bench/results/reference_runs.md has the table, and a picture of the
curves. Losses are held out, at [MASK].

With --text, overrides say which text that is, and how long all recipes train;
the table goes into bench/results/reference_runs_NAME.md alone.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys

import curve
import matplotlib.pyplot as pyplot

from mlm_jax import config as config_lib
from mlm_jax import families, phases

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"

CORPUS = "tfds:python_docs"

# ALBERT, ELECTRA and SpanBERT take twice the steps of the other small variants.
RECIPES = [
  "quickstart",
  "bert_base:tiny",
  "distilbert_base:tiny",
  "roberta_base:tiny",
  "spanbert_base:tiny",
  "mosaicbert_base:tiny",
  "nomic_bert:tiny",
  "modernbert_base:tiny",
  "neobert:tiny",
  "albert_base:tiny",
  "electra_small:tiny",
]


def train(name, workdir, rows, overrides):
  """Trains a recipe, as a command does."""
  command = [
    sys.executable,
    "-m",
    "mlm_jax",
    "train",
    f"--config={name}",
    f"--workdir={workdir}",
    f"--config.data.rows_dir={rows}",
    "--config.train.eval_every=100",
    *overrides,
  ]
  subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def against_pytorch(family, folder):
  """Returns the largest and the mean relative difference of losses.

  Of 300 steps of 4 layers of 128, packed rows of 64, AdamW.
  """
  import numpy as np
  from torch_trainer import Ours

  values = config_lib.default()
  values.model.update(family)
  values.model.update(families.NO_DROPOUT)
  values.model.update(num_layers=4, width=128, num_heads=4, mlp_width=512)
  if values.model.window:
    values.model.update(window=16, global_every=2, mlp_width=192)
  values.data.update(corpus=CORPUS, vocab_size=4096, seq_len=64)
  values.optim.update(peak_lr=1e-3, warmup_steps=50)
  values.train.update(steps=300, batch_size=16, log_every=1)
  ours = Ours(phases.Recipe(config_lib.build(values)), folder)
  difference = np.abs(np.array(ours.losses) / ours.theirs() - 1)
  return difference.max(), difference.mean()


def heldout(workdir):
  """Returns (tokens seen, loss at [MASK]) of each evaluation."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  records = [r for r in map(json.loads, lines) if r["split"] == "heldout"]
  # Of several terms, the one that predicts tokens.
  terms = ("mlm_loss", "generator_loss")
  term = next((term for term in terms if term in records[0]), "loss")
  return [(r["tokens_seen"], round(r[term], 3)) for r in records]


def draw(curves, entropies, path):
  figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
  # Ten colours are too few.
  axes.set_prop_cycle(color=pyplot.get_cmap("tab20").colors[::2] + ("black",))
  for name, points in curves.items():
    tokens, losses = zip(*points, strict=True)
    axes.plot([t / 1e6 for t in tokens], losses, lw=1.5, label=name)
  for entropy in sorted({round(entropy, 2) for entropy in entropies.values()}):
    axes.axhline(entropy, color=curve.GREY, ls="--", lw=1)
    axes.text(
      0.99,
      entropy + 0.05,
      f"unigram entropy {entropy}",
      color=curve.GREY,
      ha="right",
      transform=axes.get_yaxis_transform(),
    )
  axes.set(xlabel="million tokens", ylabel="held-out loss at [MASK], nats")
  axes.set_xlim(left=0)
  axes.legend(fontsize=8, ncols=2, frameon=False)
  axes.spines[["top", "right"]].set_visible(False)
  axes.grid(axis="y", color="#eeeeee")
  figure.savefig(path, format="png", dpi=130)


def table(curves, entropies):
  lines = [
    "| recipe | million tokens | at 1/4 | at 1/2 | at the end | "
    "under unigrams |",
    "|---|---|---|---|---|---|",
  ]
  for name, points in curves.items():
    places = (len(points) // 4, len(points) // 2, -1)
    losses = [points[place][1] for place in places]
    lines.append(
      f"| `{name}` | {points[-1][0] / 1e6:.2f} | "
      + " | ".join(f"{loss:.2f}" for loss in losses)
      + f" | {entropies[name] - losses[-1]:.2f} |"
    )
  return "\n".join(lines)


def main():
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--recipes", default=",".join(RECIPES))
  parser.add_argument("--runs", type=pathlib.Path, default="runs/reference")
  parser.add_argument("--text", default="")
  args, overrides = parser.parse_known_args()
  if bool(args.text) != bool(overrides):
    parser.error("--text goes with overrides, --config.GROUP.KEY=VALUE")
  curves, entropies = {}, {}
  for name in args.recipes.split(","):
    workdir = args.runs.resolve() / name.partition(":")[0]
    train(name, workdir, workdir.parent / "rows", overrides)
    curves[name] = heldout(workdir)
    entropies[name] = curve.unigram_entropy(workdir)
    print(f"{name}: {curves[name][-1][1]:.3f}", flush=True)
  write(args.text, curves, entropies)
  if args.text:
    return
  differences = {
    name: against_pytorch(family, args.runs.resolve() / f"{name}_300")
    for name, family in (
      ("BERT", families.BERT),
      ("ModernBERT", families.MODERNBERT),
    )
  }
  append_differences(differences)
  lines = (f'"{name}": {json.dumps(x)}' for name, x in curves.items())
  path = ROOT / "configs" / "references.json"
  path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def write(text, curves, entropies):
  """Writes the table and the picture of the runs on a text."""
  stem = f"reference_runs_{text}".rstrip("_")
  draw(curves, entropies, RESULTS / f"{stem}.png")
  versions = ", ".join(
    f"{name} {importlib.metadata.version(name)}" for name in ("jax", "flax")
  )
  of = text or "the documentation that every Python holds"
  python = f"{os.cpu_count()} cores, Python {platform.python_version()}"
  (
    RESULTS / f"{stem}.md"
  ).write_text(f"""# Reference runs: where the loss should be

{python}, {versions}. The text is
{of}. Losses are held
out, in nats a token, at 15% of tokens, all shown as [MASK].

    {shlex.join(["python", *sys.argv])}

{table(curves, entropies)}

![curves]({stem}.png)
""")


def append_differences(differences):
  """Adds what PyTorch's losses differ by to the table."""
  text = """
## Beside PyTorch

The loss at each of 300 steps, from the same weights and batches, by
transformers' models and PyTorch's AdamW (`bench/torch_trainer.py`): 4 layers of
width 128, packed rows of 64 tokens, float32.

| model | largest relative difference | mean |
|---|---|---|
"""
  for name, (largest, mean) in differences.items():
    text += f"| {name} | {largest:.1e} | {mean:.1e} |\n"
  with (RESULTS / "reference_runs.md").open("a") as file:
    file.write(text)


if __name__ == "__main__":
  main()
