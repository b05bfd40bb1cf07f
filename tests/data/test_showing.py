"""What show_corruption prints is what the model gets."""

import pathlib
import re

import pytest

from mlm_jax.__main__ import main

ROOT = pathlib.Path(__file__).parents[2]
RECIPE = f"--config={ROOT}/configs/quickstart.py"
TEXT = "The class statement defines a class object, as the function does."


def show(capsys, *overrides, text=TEXT):
  overrides = [f"--config.{override}" for override in overrides]
  arguments = [RECIPE, "--times=2", "--text", text]
  assert main(["show_corruption", *arguments, *overrides]) == 0
  return capsys.readouterr().out


@pytest.mark.parametrize("kind", ["token_masking", "whole_words", "spans"])
def test_masks_and_what_they_hide_make_the_text(kind, capsys):
  out = show(
    capsys,
    *(f"corruption.kind={kind}", "corruption.random_share=0.0"),
    "corruption.mask_share=1.0",
  )
  (original,) = re.findall(r"^original +(.*)$", out, re.MULTILINE)
  seen = re.findall(r"^seen +(.*)$", out, re.MULTILINE)
  asked = re.findall(r"^asked for +(.*)$", out, re.MULTILINE)
  assert len(seen) == len(asked) == 2
  assert seen[0] != seen[1]
  for line, words in zip(seen, asked, strict=True):
    assert "[MASK]" in line
    # The spaces are those of the original.
    for word in words.split(" |"):
      line = line.replace("[MASK]", word.strip(), 1)
    assert line == original
  assert " masked " in out
  assert "replaced" not in out


def test_causal_models_are_asked_for_all_that_comes_next(capsys):
  out = show(capsys, "corruption.kind=next_token", "objective.name=causal_lm")
  original, seen, asked = (
    re.findall(rf"^{name} +(.*)$", out, re.MULTILINE)[0]
    for name in ("original", "seen", "asked for")
  )
  assert original == seen
  assert "[CLS] " + asked.replace(" |", "") == original


def test_a_prefix_is_not_asked_for(capsys):
  out = show(capsys, "corruption.kind=prefix", "objective.name=causal_lm")
  assert "seen by all" in out
  (original,) = re.findall(r"^original +(.*)$", out, re.MULTILINE)
  for asked in re.findall(r"^asked for +(.*)$", out, re.MULTILINE):
    assert original.endswith(asked.replace(" |", "").strip())


def test_a_text_longer_than_a_row_is_refused(capsys):
  arguments = [RECIPE, "--text", TEXT * 20]
  assert main(["show_corruption", *arguments]) == 2
  assert "data.seq_len=64" in capsys.readouterr().err
