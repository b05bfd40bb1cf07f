"""train --dry_run shows what a recipe does, and does nothing."""

import re

import pytest

from mlm_jax import recipes
from mlm_jax.cli.main import main
from mlm_jax.tools import dry_run
from tests.cli.conftest import fail


def show(capsys, *arguments):
  assert main(["train", "--dry_run", *arguments]) == 0
  return capsys.readouterr().out


def test_each_phase_is_shown_with_its_lengths_and_rates(capsys):
  out = show(capsys, "--config=modernbert_base")
  names = re.findall(r"(?m)^(\w+): [\d,]+ steps", out)
  assert names == ["pretraining", "context_extension", "decay"]
  for text in (
    "1.719T tokens, 1,024 a row",
    "768 to 4,608 rows in 6 sizes, over 50B tokens",
    "0 to 0.0008 over 3B tokens, then 0.0008",
    "0.0003 to 0 (one_minus_sqrt)",
    "token_masking, 30% of tokens",
    "1.679B needed, none prepared yet",
    "2.019T tokens in all",
  ):
    assert text in out
  assert max(map(len, out.splitlines())) <= 80


def test_the_plot_has_the_shape_of_the_schedule(capsys):
  """A linear decay, with a short warm-up before it."""
  out = show(capsys, "--config=roberta_base")
  bars = [line.partition("│")[2] for line in out.splitlines() if "│" in line]
  assert len(bars) == 8
  heights = [sum(" ▁▂▃▄▅▆▇█".index(row[x]) for row in bars) for x in range(60)]
  peak = heights.index(max(heights))
  assert peak <= 3 and heights[0] < heights[peak]
  assert heights[peak:] == sorted(heights[peak:], reverse=True)
  assert heights[-1] <= 2


def test_learning_rates_are_those_of_training():
  rates = dry_run.learning_rates(recipes.load("bert_base"), 1000)
  assert len(rates) == 1000
  tokens = [place for place, _ in rates]
  assert tokens == sorted(tokens)
  # At the 500,000th step of 128 tokens, of 990,000 until 0.
  place = next(r for t, r in rates if t >= 500_000 * 256 * 128)
  assert place == pytest.approx(1e-4 * 500 / 990, rel=2e-2)


def test_rows_that_are_there_are_counted_in_epochs(capsys, recipe, tmp_path):
  arguments = [f"--config={recipe}", f"--workdir={tmp_path}"]
  assert "none prepared yet" in show(capsys, *arguments)
  assert not list(tmp_path.iterdir())
  assert main(["prepare", *arguments]) == 0
  capsys.readouterr()
  before = sorted(tmp_path.rglob("*"))
  assert re.search(
    r"rows +1,600 needed, \S+ there: \S+ epochs", show(capsys, *arguments)
  )
  assert sorted(tmp_path.rglob("*")) == before


def test_the_plot_is_saved_as_png(capsys, tmp_path):
  path = tmp_path / "timeline.png"
  out = main(["train", f"--dry_run={path}", "--config=bert_base"])
  assert out == 0 and f"Wrote {path}" in capsys.readouterr().out
  assert path.read_bytes().startswith(b"\x89PNG")


def test_a_plot_that_cannot_be_written_is_an_input_error(capsys, tmp_path):
  path = tmp_path / "none" / "a.png"
  line = fail(capsys, ["train", f"--dry_run={path}", "--config=bert_base"])
  assert f"cannot write {path}" in line


def test_training_needs_a_workdir(capsys):
  assert "--workdir" in fail(capsys, ["train", "--config=bert_base"])
