"""show_corruption prints the batches that the model gets."""

import pathlib
import re

import pytest

from mlm_jax.cli.main import main

ROOT = pathlib.Path(__file__).parents[2]
RECIPE = f"--config={ROOT}/configs/quickstart.py"
TEXT = "The class statement defines a class object, as the function does."
SENTENCES = "A list may be changed. Its items are read in order. It has no end."
SEQ2SEQ = ("objective.name=seq2seq", "model.num_decoder_layers=1")


def show(capsys, *overrides, texts=(TEXT,), times=2):
  overrides = [f"--config.{override}" for override in overrides]
  arguments = [
    RECIPE,
    f"--times={times}",
    *(f"--text={text}" for text in texts),
  ]
  assert main(["show_corruption", *arguments, *overrides]) == 0
  return capsys.readouterr().out


def lines_of(out, name):
  return re.findall(rf"^{name} +(.*)$", out, re.MULTILINE)


@pytest.mark.parametrize(
  "kind", ["token_masking", "whole_words", "spans", "uniform_mask_rate"]
)
def test_targets_in_place_of_their_masks_restore_the_text(kind, capsys):
  out = show(
    capsys,
    f"corruption.kind={kind}",
    "corruption.random_share=0.0",
    "corruption.mask_share=1.0",
  )
  (original,) = lines_of(out, "original")
  seen, asked = lines_of(out, "input"), lines_of(out, "targets")
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


def test_next_token_targets_are_the_whole_text(capsys):
  out = show(capsys, "corruption.kind=next_token", "objective.name=causal_lm")
  original, seen, asked = (
    lines_of(out, name)[0] for name in ("original", "input", "targets")
  )
  assert original == seen
  assert "[CLS] " + asked.replace(" |", "") == original


def test_prefix_targets_are_the_text_after_the_prefix(capsys):
  out = show(capsys, "corruption.kind=prefix", "objective.name=causal_lm")
  assert " prefix " in out
  (original,) = lines_of(out, "original")
  assert lines_of(out, "input") == [original] * 2
  for asked in lines_of(out, "targets"):
    assert original.endswith(asked.replace(" |", "").strip())


def test_rows_of_a_mixture_are_masked_or_predict_the_next_token(capsys):
  out = show(
    capsys,
    "objective.name=mixture",
    "corruption.next_token_share=0.5",
    times=8,
  )
  (original,) = lines_of(out, "original")
  seen, asked = lines_of(out, "input"), lines_of(out, "targets")
  kinds = {"[MASK]" in line for line in seen}
  assert kinds == {True, False}, "half of them have masks"
  for line, words in zip(seen, asked, strict=True):
    if "[MASK]" not in line:
      assert line == original
      assert "[CLS] " + words.replace(" |", "") == original


def test_spans_in_place_of_their_sentinels_restore_the_text(capsys):
  out = show(
    capsys,
    *SEQ2SEQ,
    "corruption.kind=span_corruption",
    "data.num_sentinels=10",
  )
  (original,) = lines_of(out, "original")
  pairs = lines_of(out, "input"), lines_of(out, "targets")
  for seen, asked in zip(*pairs, strict=True):
    said = asked.replace(" |", "").removesuffix("[SEP]")
    spans = re.split(r"(<extra_id_\d+>)", said)[1:]
    for sentinel, span in zip(spans[::2], spans[1::2], strict=True):
      assert sentinel in seen
      seen = seen.replace(sentinel, span)
    assert seen == original


def test_bart_targets_are_the_whole_text(capsys):
  out = show(capsys, *SEQ2SEQ, "corruption.kind=bart", texts=[SENTENCES])
  (original,) = lines_of(out, "original")
  for asked in lines_of(out, "targets"):
    assert "[CLS] " + asked.replace(" |", "") == original
  assert any("[MASK]" in seen for seen in lines_of(out, "input"))
  assert " moved " in out
  assert " hidden from the encoder " in out


def test_cmlm_shows_the_masks_of_the_decoder(capsys):
  out = show(
    capsys,
    "objective.name=cmlm",
    "corruption.kind=cmlm",
    "model.num_decoder_layers=1",
    "model.position_kind=learned",
  )
  (original,) = lines_of(out, "original")
  pairs = lines_of(out, "decoder"), lines_of(out, "targets")
  for line, words in zip(*pairs, strict=True):
    assert line.count("[MASK]") == len(words.split(" |"))
    for word in words.split(" |"):
      line = line.replace("[MASK]", word.strip(), 1)
    assert line.replace(" ", "") == original.replace(" ", "")


@pytest.mark.parametrize("kind", ["nsp", "sop"])
def test_pairs_are_labelled(kind, capsys):
  out = show(
    capsys,
    f"corruption.sentence_pairs={kind}",
    "data.packing=single",
    "corruption.mask_share=0.0",
    "corruption.random_share=0.0",
    texts=[SENTENCES, TEXT],
  )
  originals = dict(enumerate(lines_of(out, "original")))
  shown = zip(lines_of(out, "input"), lines_of(out, "pair"), strict=True)
  for number, (seen, said) in enumerate(shown):
    own = originals[number // 2].replace(" ", "")
    first, second, _ = seen.replace(" ", "").split("[SEP]")
    first = first.removeprefix("[CLS]")
    if said in ("the second follows the first", "in order"):
      assert first + second in own
    elif said == "the second came first":
      assert second + first in own
    else:
      assert said == "the second is from the other text"
      assert second in originals[1 - number // 2].replace(" ", "")


def test_nsp_without_a_second_text_raises_input_error(capsys):
  arguments = [RECIPE, "--text", TEXT, "--config.data.packing=single"]
  pairs = "--config.corruption.sentence_pairs=nsp"
  assert main(["show_corruption", *arguments, pairs]) == 2
  assert "give --text twice" in capsys.readouterr().err


def test_a_text_longer_than_a_row_raises_input_error(capsys):
  arguments = [RECIPE, "--text", TEXT * 20]
  assert main(["show_corruption", *arguments]) == 2
  assert "data.seq_len=64" in capsys.readouterr().err
