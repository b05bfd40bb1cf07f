"""A run that learns a small corpus by heart stops where it turns."""

import json

import pytest

from mlm_jax.cli.main import main
from mlm_jax.config import build, default
from mlm_jax.errors import InputError
from mlm_jax.families import DROPOUTS


@pytest.fixture(scope="module")
def small(tmp_path_factory):
  """The arguments of a run on twenty short texts."""
  from pydoc_data import topics

  folder = tmp_path_factory.mktemp("small")
  texts = [topics.topics[name][:600] for name in sorted(topics.topics)[:30]]
  texts = ["\n".join(filter(None, text.splitlines())) for text in texts]
  (folder / "corpus.txt").write_text("\n\n".join(texts))
  overrides = {
    "data.corpus": f"text:{folder}/corpus.txt",
    "data.heldout_fraction": 0.3,
    "data.vocab_size": 400,
    "train.steps": 1000,
    "train.patience": 3,
    "train.min_gain": 0.005,
    "train.eval_every": 20,
    "train.checkpoint_every": 1000,
    "train.eval_batches": 0,
    "optim.peak_lr": 1e-2,
    # Each token is asked for, so that few rows are soon known.
    "objective.name": "causal_lm",
    "corruption.kind": "next_token",
    "model.position_kind": "rope",
    "model.norm_placement": "pre",
    **{f"model.{place}": 0.0 for place in DROPOUTS},
  }
  return [f"--config.{key}={value}" for key, value in overrides.items()]


def heldout(workdir):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  records = [r for r in map(json.loads, lines) if r["split"] == "heldout"]
  return [(r["step"], r["loss"]) for r in records]


@pytest.mark.slow
def test_early_stopping_keeps_the_best_checkpoint(
  recipe, small, tmp_path, capsys
):
  rows = f"--config.data.rows_dir={tmp_path}/rows"
  arguments = [f"--config={recipe}", f"--workdir={tmp_path}", rows, *small]
  assert main(["train", *arguments]) == 0
  out = capsys.readouterr().out
  steps, losses = zip(*heldout(tmp_path), strict=True)
  best = min(losses)
  assert steps[-1] < 1000
  assert losses[-1] > best + 0.01, "the turn can be seen"
  assert min(losses[-3:]) > min(losses[:-3]) - 0.005
  # Both the best and the last are there.
  assert f"not fallen since step {steps[-4]:,}" in out
  kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
  assert {steps[-1], steps[losses.index(best)]} <= kept

  # Run again, it remembers.
  assert main(["train", *arguments]) == 0
  assert "not fallen since" in capsys.readouterr().out
  assert heldout(tmp_path)[-1][0] == steps[-1]


def test_patience_needs_a_heldout_loss():
  values = default()
  values.train.patience = 3
  values.data.heldout_fraction = 0.0
  with pytest.raises(InputError, match="heldout_fraction"):
    build(values)
