"""Trains the small variant of several recipes, and records where losses end.

  python bench/reference_runs.py [--recipes=...] [--runs=runs/reference]
    [--corpus='text:my/*.txt']

Each recipe is trained as `train --config=NAME:tiny` trains it, in a process of
its own, from the same rows where these are equal. Without --corpus the text is
what every Python holds, and configs/references.json is written, by which
`train` says what loss to expect. bench/results/reference_runs.md has the table,
and a picture of the curves. Losses are held out, at [MASK].
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import curve
import matplotlib.pyplot as pyplot

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"

# ALBERT and ELECTRA take twice the steps of the others.
RECIPES = [
  "bert_base",
  "distilbert_base",
  "roberta_base",
  "spanbert_base",
  "mosaicbert_base",
  "nomic_bert",
  "modernbert_base",
  "neobert",
  "albert_base",
  "electra_small",
]


def train(name, workdir, rows, corpus):
  """Returns the minutes that a recipe takes; a finished one takes none."""
  command = [
    sys.executable,
    "-m",
    "mlm_jax",
    "train",
    f"--config={name}:tiny",
    f"--workdir={workdir}",
    f"--config.data.rows_dir={rows}",
    "--config.train.eval_every=100",
  ]
  if corpus:
    command.append(f"--config.data.corpus={corpus}")
  start = time.monotonic()
  subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
  return (time.monotonic() - start) / 60


def heldout(workdir, loss="loss"):
  """Returns (tokens seen, loss) of each evaluation."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  records = [r for r in map(json.loads, lines) if r["split"] == "heldout"]
  # Of several terms, the one that predicts tokens.
  term = next((k for k in records[0] if k.endswith("mlm_loss")), loss)
  return [(r["tokens_seen"], round(r[term], 3)) for r in records]


def draw(curves, entropies, path):
  figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
  for name, points in curves.items():
    tokens, losses = zip(*points, strict=True)
    axes.plot([t / 1e6 for t in tokens], losses, lw=1.5, label=name)
  axes.axhline(
    max(entropies.values()), color=curve.GREY, ls="--", lw=1, label="unigrams"
  )
  axes.set(xlabel="million tokens", ylabel="held-out loss at [MASK], nats")
  axes.set_xlim(left=0)
  axes.legend(fontsize=8, ncols=2, frameon=False)
  axes.spines[["top", "right"]].set_visible(False)
  axes.grid(axis="y", color="#eeeeee")
  figure.savefig(path, format="png", dpi=130)


def table(curves, entropies, minutes):
  lines = [
    "| recipe | million tokens | at 1/4 | at 1/2 | at the end | "
    "under unigrams | minutes |",
    "|---|---|---|---|---|---|---|",
  ]
  for name, points in curves.items():
    places = (len(points) // 4, len(points) // 2, -1)
    losses = [points[place][1] for place in places]
    lines.append(
      f"| `{name}:tiny` | {points[-1][0] / 1e6:.2f} | "
      + " | ".join(f"{loss:.2f}" for loss in losses)
      + f" | {entropies[name] - losses[-1]:.2f} | {minutes[name]:.1f} |"
    )
  return "\n".join(lines)


def main():
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("--recipes", default=",".join(RECIPES))
  parser.add_argument("--runs", type=pathlib.Path, default="runs/reference")
  parser.add_argument("--corpus", default="")
  args = parser.parse_args()
  curves, entropies, minutes = {}, {}, {}
  for name in args.recipes.split(","):
    workdir = args.runs.resolve() / name
    minutes[name] = train(name, workdir, workdir.parent / "rows", args.corpus)
    curves[name] = heldout(workdir)
    entropies[name] = curve.unigram_entropy(workdir)
    print(f"{name}: {curves[name][-1][1]:.3f}, {minutes[name]:.1f} min")
  suffix = "_own_text" if args.corpus else ""
  picture = RESULTS / f"reference_runs{suffix}.png"
  draw(curves, entropies, picture)
  versions = ", ".join(
    f"{name} {importlib.metadata.version(name)}" for name in ("jax", "flax")
  )
  text = f"""# Reference runs: the small variants of several recipes

`python bench/reference_runs.py`, {os.cpu_count()} cores, Python
{platform.python_version()}, {versions}. The corpus is
{args.corpus or "the documentation that every Python holds"}. Losses are held
out, in nats a token, at 15% of tokens, all shown as [MASK].

{table(curves, entropies, minutes)}

![curves]({picture.name})
"""
  (RESULTS / f"reference_runs{suffix}.md").write_text(text)
  if not args.corpus:
    found = {
      f"{name}:tiny": {"heldout": points, "unigram_entropy": entropies[name]}
      for name, points in curves.items()
    }
    path = ROOT / "configs" / "references.json"
    path.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
  main()
