"""What encoder-decoders see and must say: T5's, MASS's and Mask-Predict's."""

import math

import numpy as np
import pytest

from mlm_jax.config import CorruptionConfig
from mlm_jax.errors import InputError
from tests.data.packed import documents_of

SIGMAS = 5


def woven(seen, said, vocab):
  """Returns the text: each sentinel seen, in its place what is said after it."""
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
def test_spans_in_the_place_of_their_sentinels_give_the_text_back(
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


def test_spans_are_the_rate_of_tokens_cut_into_equally_likely_parts(
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


def test_what_is_asked_for_is_what_is_said_next(corrupt, random_rows, vocab):
  rows = random_rows(50, 48)
  for kind in ("span_corruption", "denoising", "fragment"):
    batch = corrupt(rows, kind=kind)
    asked = batch["target_weights"] > 0
    after = np.roll(batch["decoder_ids"], -1, axis=1)
    assert (batch["target_ids"][asked] == after[asked]).all()
    assert asked.any()
    assert not asked[:, -1].any()
    assert not np.isin(after[asked], [vocab.start_id, vocab.pad_id]).any()


def test_what_a_decoder_has_no_room_for_is_not_said(corrupt, vocab, ordinary):
  # A row of the shortest documents, a start, a token and an end.
  row = np.array([vocab.start_id, ordinary[0], vocab.end_id] * 16)
  options = {"kind": "span_corruption", "mask_rate": 0.9, "mean_span": 9}
  batch = corrupt(row[None], **options)
  slots = CorruptionConfig(**options).num_targets(48)
  assert batch["decoder_ids"].shape == batch["target_ids"].shape == (1, slots)
  hidden = np.isin(batch["input_ids"], vocab.sentinel_ids).sum()
  ends = (batch["decoder_ids"] == vocab.end_id).sum()
  assert ends < hidden == round(0.9 * 16)
  assert (batch["decoder_ids"] != vocab.pad_id).all()


def test_too_few_sentinels_are_refused(corrupt, full_rows):
  with pytest.raises(InputError, match="20 sentinels") as raised:
    corrupt(full_rows(1, 512), kind="span_corruption")
  assert "\n" not in str(raised.value)


@pytest.mark.parametrize("mask_rate", [0.3, 0.5])
def test_a_fragment_of_each_document_is_hidden_and_said(
  corrupt, random_rows, vocab, mask_rate
):
  rows = random_rows(100, 64)
  batch = corrupt(
    rows, kind="fragment", mask_rate=mask_rate, mask_share=1, random_share=0
  )
  compared = 0
  for row, seen, said, places in zip(
    rows,
    *(batch[k] for k in ("input_ids", "decoder_ids", "decoder_positions")),
    strict=True,
  ):
    fragments = documents_of(said, vocab)
    if sum(map(len, fragments)) == len(said):
      continue
    at = 0
    seen = documents_of(seen, vocab)
    for text, one, fragment in zip(
      documents_of(row, vocab), seen, fragments, strict=True
    ):
      hidden = np.flatnonzero(np.array(one) == vocab.mask_id)
      assert len(hidden) == len(fragment) - 1
      assert abs(len(hidden) - mask_rate * (len(text) - 2)) <= 0.5
      assert [text[i] for i in hidden] == fragment[1:]
      there = places[at : at + len(fragment)]
      # The start stands where the token before the fragment does.
      assert (np.diff(there) == 1).all()
      assert (there[1:] == hidden).all()
      at += len(fragment)
      compared += 1
  assert compared > 100


def test_fragments_begin_anywhere(corrupt, full_rows, sigmas_from_uniform):
  batch = corrupt(full_rows(4000, 22), kind="fragment", mask_rate=0.5)
  begins = np.bincount(batch["decoder_positions"][:, 0], minlength=11)
  assert begins.size == 11
  assert abs(sigmas_from_uniform(begins)) < SIGMAS


@pytest.mark.parametrize("kind", ["uniform_masking", "conditional_masking"])
def test_any_number_of_masks_is_as_likely(
  corrupt, full_rows, vocab, sigmas_from_uniform, kind
):
  rows = full_rows(8000, 18)
  rows[:, 8], rows[:, 9] = vocab.end_id, vocab.start_id
  batch = corrupt(rows, kind=kind, mask_rate=0.3)
  if kind == "uniform_masking":
    hidden = np.zeros(rows.shape)
    row, slot = np.nonzero(batch["target_weights"])
    hidden[row, batch["target_positions"][row, slot]] = 1
  else:
    hidden = batch["decoder_ids"] == vocab.mask_id
    assert (hidden == batch["target_weights"]).all()
    assert (batch["decoder_ids"] == rows)[~hidden].all()
  for inside in (slice(1, 8), slice(10, 17)):
    counts = np.bincount(hidden[:, inside].sum(axis=1).astype(int))
    assert counts[0] == 0 and counts.size == 8
    assert abs(sigmas_from_uniform(counts[1:])) < SIGMAS
    places = hidden[:, inside].sum(axis=0)
    assert np.ptp(places) < 2 * SIGMAS * np.sqrt(places.mean())
  # The two documents of a row know nothing of each other.
  pairs = hidden[:, 1:8].sum(axis=1), hidden[:, 10:17].sum(axis=1)
  assert abs(np.corrcoef(*pairs)[0, 1]) < SIGMAS / np.sqrt(len(rows))


def test_starts_tell_the_length_of_what_is_to_be_said(
  corrupt, random_rows, vocab
):
  rows = random_rows(60, 64)
  batch = corrupt(rows, kind="conditional_masking", mask_rate=0.3)
  for row, seen, lengths in zip(
    rows, batch["input_ids"], batch["target_lengths"], strict=True
  ):
    starts = seen == vocab.start_id
    assert not lengths[~starts].any()
    texts = documents_of(row, vocab)
    assert lengths[starts].tolist() == [len(text) - 2 for text in texts]
