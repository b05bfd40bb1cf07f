"""T5 span corruption, and the targets of all decoders."""

import math

import numpy as np
import pytest

from mlm_jax.config import CorruptionConfig
from mlm_jax.data.corruption import bind
from mlm_jax.errors import InputError
from tests.data.packed import documents_of

SIGMAS = 5


def woven(seen, said, vocab):
  """Returns the text, with each sentinel's span in the sentinel's place."""
  spans, sentinel = {}, None
  for token in said[1:]:
    if token in vocab.sentinel_ids:
      assert token not in spans
      sentinel = token
      spans[sentinel] = []
    elif token != vocab.end_id:
      spans[sentinel].append(token)
  assert [*spans] == list(vocab.sentinel_ids[: len(spans)]), "in their order"
  assert all(spans.values())
  places = [token for token in seen if token in vocab.sentinel_ids]
  assert places == [*spans], "each is seen once"
  return [piece for token in seen for piece in spans.get(token, [token])]


@pytest.mark.parametrize("options", [{}, {"mask_rate": 0.5, "mean_span": 1.5}])
def test_spans_in_place_of_their_sentinels_restore_the_text(
  corrupt, random_rows, vocab, options
):
  rows = random_rows(200, 48)
  batch = corrupt(rows, kind="span_corruption", **options)
  given_back = 0
  for row, seen, said in zip(
    rows, batch["input_ids"], batch["decoder_ids"], strict=True
  ):
    texts, seen, said = (documents_of(x, vocab) for x in (row, seen, said))
    if sum(map(len, said)) == batch["decoder_ids"].shape[1]:
      continue  # Many short documents: what is said was cut.
    assert len(texts) == len(seen) == len(said)
    for text, one_seen, one_said in zip(texts, seen, said, strict=True):
      assert woven(one_seen, one_said, vocab) == text
      # What has nothing to say does not say its end.
      assert (one_said[-1] == vocab.end_id) == (len(one_said) > 1)
    given_back += 1
  assert given_back > 150


def test_span_lengths_are_a_uniform_partition_of_the_masked_tokens(
  corrupt, full_rows, vocab
):
  num_rows, length = 3000, 130
  rows = full_rows(num_rows, length)
  batch = corrupt(rows, kind="span_corruption")
  hidden, spans = round(0.15 * (length - 2)), round(0.15 * (length - 2) / 3)
  is_sentinel = np.isin(batch["decoder_ids"], vocab.sentinel_ids)
  assert (is_sentinel.sum(axis=1) == spans).all()
  said = (batch["decoder_ids"] != vocab.pad_id).sum(axis=1)
  # The start and the end are there, too.
  assert (said == hidden + spans + 2).all()
  gaps = [
    np.diff([*np.flatnonzero(row), hidden + spans + 1]) - 1
    for row in is_sentinel
  ]
  found = np.bincount(np.concatenate(gaps), minlength=hidden + 1) / num_rows
  assert found[0] == 0
  for size in range(1, 9):
    ways = math.comb(hidden - size - 1, spans - 2) / math.comb(
      hidden - 1, spans - 1
    )
    sigma = math.sqrt(spans * ways / num_rows)
    assert abs(found[size] - spans * ways) < SIGMAS * sigma


def test_targets_are_the_next_tokens_of_the_decoder(
  corrupt, random_rows, vocab
):
  rows = random_rows(50, 48)
  for kind in ("span_corruption", "bart", "mass"):
    batch = corrupt(rows, kind=kind)
    asked = batch["target_weights"] > 0
    after = np.roll(batch["decoder_ids"], -1, axis=1)
    assert (batch["target_ids"][asked] == after[asked]).all()
    assert asked.any()
    assert not asked[:, -1].any()
    assert not np.isin(after[asked], [vocab.start_id, vocab.pad_id]).any()


def test_decoder_rows_are_cut_at_their_length(corrupt, vocab, ordinary):
  # A row of the shortest documents, a start, a token and an end.
  row = np.array([vocab.start_id, ordinary[0], vocab.end_id] * 16)
  options = {"kind": "span_corruption", "mask_rate": 0.9, "mean_span": 9}
  batch = corrupt(row[None], **options)
  slots = bind(CorruptionConfig(**options)).num_targets(48)
  assert batch["decoder_ids"].shape == batch["target_ids"].shape == (1, slots)
  hidden = np.isin(batch["input_ids"], vocab.sentinel_ids).sum()
  ends = (batch["decoder_ids"] == vocab.end_id).sum()
  assert ends < hidden == round(0.9 * 16)
  assert (batch["decoder_ids"] != vocab.pad_id).all()


def test_too_few_sentinels_raise_input_error(corrupt, full_rows):
  with pytest.raises(InputError, match="20 sentinels") as raised:
    corrupt(full_rows(1, 512), kind="span_corruption")
  assert "\n" not in str(raised.value)
