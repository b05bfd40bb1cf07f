"""Draws the training curve of a work directory.

  python bench/curve.py runs/quickstart bench/results/quickstart.svg

Needs matplotlib: pip install -e '.[bench]'.
"""

import argparse
import json
import pathlib

import matplotlib

matplotlib.use("svg")
# The same curve gives the same file.
matplotlib.rcParams["svg.hashsalt"] = "mlm_jax"

from matplotlib import pyplot  # noqa: E402

from mlm_jax.data import prepare  # noqa: E402
from mlm_jax.workdir import Workdir  # noqa: E402

INK, GREY, BLUE, ORANGE = "#333333", "#999999", "#1f77b4", "#d95f02"


def curve(workdir, split):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  records = [r for r in map(json.loads, lines) if r["split"] == split]
  return [r["step"] for r in records], [r["loss"] for r in records]


def unigram_entropy(path):
  workdir = Workdir.at(path)
  _, stores = prepare.load(workdir.load_config(), workdir)
  return stores.unigram_entropy


def main():
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("workdir", type=pathlib.Path)
  parser.add_argument("picture", type=pathlib.Path)
  args = parser.parse_args()

  figure, axes = pyplot.subplots(figsize=(7.2, 3.6), layout="constrained")
  train = curve(args.workdir, "train")
  axes.plot(*train, color=BLUE, alpha=0.5, lw=1.2)
  steps, losses = curve(args.workdir, "heldout")
  axes.plot(steps, losses, color=ORANGE, lw=1.8, marker="o", ms=3.5)
  entropy = unigram_entropy(args.workdir)
  axes.axhline(entropy, color=GREY, lw=1, ls="--")

  end = steps[-1]
  note = {"fontsize": 9, "ha": "right"}
  axes.text(end, entropy + 0.07, "held-out unigram entropy", color=GREY, **note)
  axes.text(
    end, losses[-1] + 0.2, f"held-out {losses[-1]:.2f}", color=ORANGE, **note
  )
  at = len(train[0]) // 3
  axes.text(
    train[0][at], train[1][at] - 0.5, "training", color=BLUE, fontsize=9
  )
  axes.set_xlabel("step", color=INK)
  axes.set_ylabel("loss, nats per masked token", color=INK)
  axes.set_xlim(0, end)
  axes.set_ylim(bottom=losses[-1] - 0.7)
  axes.spines[["top", "right"]].set_visible(False)
  axes.grid(axis="y", color="#eeeeee")
  args.picture.parent.mkdir(parents=True, exist_ok=True)
  figure.savefig(args.picture, metadata={"Date": None})


if __name__ == "__main__":
  main()
