"""Sentence pairs (NSP, SOP): where they are split, what is second, labels."""

import numpy as np
import pytest

from mlm_jax import config as config_lib
from mlm_jax.data import pipeline
from mlm_jax.data.host_tensorflow import iterate
from mlm_jax.data.stream import Stream
from mlm_jax.errors import InputError

SIGMAS = 5
LENGTH = 32


@pytest.fixture
def single_rows(vocab):
  """Makes rows of one document each, of sentences of four words.

  The number of a document and the place in it are told by its words.
  """
  stop = int(np.flatnonzero(vocab.is_ordinary & (vocab.stops == 1))[0])
  begins = vocab.is_ordinary & vocab.starts_word & (vocab.stops == 0)
  words = np.flatnonzero(begins)

  def make(count, sizes=range(8, LENGTH - 1)):
    rng = np.random.default_rng(0)
    rows = np.full([count, LENGTH], vocab.pad_id, np.int32)
    for row in rows:
      size = int(rng.choice(sizes))
      text = rng.permutation(words)[:size]
      text[3::4] = stop
      row[: size + 2] = [vocab.start_id, *text, vocab.end_id]
    return rows, stop

  return make


def halves(row, types, vocab):
  """Returns both sides of a pair, after checking its form."""
  row, types = row[row != vocab.pad_id], types[row != vocab.pad_id]
  assert row[0] == vocab.start_id
  middle, last = np.flatnonzero(row == vocab.end_id)
  assert last == len(row) - 1
  assert not types[: middle + 1].any() and types[middle + 1 :].all()
  return row[1:middle].tolist(), row[middle + 1 : last].tolist()


def pairs_of(corrupt, rows, **options):
  # A mask for all rows, so that the rest is as it was.
  options = {"masks_per_row": 1, "mask_share": 0, "random_share": 0, **options}
  return corrupt(rows, **options)


def is_in(part, text):
  text = text.tolist()
  return any(text[i : i + len(part)] == part for i in range(len(text)))


def test_nsp_second_sentences_follow_or_are_from_the_next_row(
  corrupt, single_rows, vocab
):
  rows, stop = single_rows(2001)
  batch = pairs_of(corrupt, rows, sentence_pairs="nsp")
  assert batch["input_ids"].shape == (2000, LENGTH)
  lengths = [[], []]
  for i, (row, types, label) in enumerate(
    zip(
      *(batch[k] for k in ("input_ids", "type_ids", "pair_labels")), strict=True
    )
  ):
    first, second = halves(row, types, vocab)
    assert rows[i][1 : 1 + len(first)].tolist() == first
    # A sentence begins where the second does.
    assert first[-1] == stop
    assert is_in(second, rows[i] if label else rows[i + 1])
    assert is_in(first + second, rows[i]) == bool(label)
    lengths[label].append((len(first), len(second)))
  halved = len(lengths[1]) - 1000
  assert abs(halved) < SIGMAS * np.sqrt(500)
  # How long they are tells nothing of which it is.
  for side in (0, 1):
    one, other = (np.array(x)[:, side] for x in lengths)
    sigma = np.sqrt(one.var() / len(one) + other.var() / len(other))
    assert abs(one.mean() - other.mean()) < SIGMAS * sigma


def test_sop_sentences_are_in_order_or_swapped(corrupt, single_rows, vocab):
  rows, stop = single_rows(2000)
  batch = pairs_of(corrupt, rows, sentence_pairs="sop")
  labels = batch["pair_labels"]
  assert abs(labels.sum() - 1000) < SIGMAS * np.sqrt(500)
  for row, types, label, original in zip(
    batch["input_ids"], batch["type_ids"], labels, rows, strict=True
  ):
    first, second = halves(row, types, vocab)
    text = original[vocab.is_ordinary[original]].tolist()
    whole = first + second if label else second + first
    # Where the row was full, the additional end has cost a token.
    assert whole == text[: len(whole)]
    assert len(text) - len(whole) == (len(text) == LENGTH - 2)
    assert (first if label else second)[-1] == stop


@pytest.mark.parametrize("kind", ["nsp", "sop"])
def test_pairs_are_split_at_uniform_sentence_starts(
  corrupt, single_rows, kind, vocab, sigmas_from_uniform
):
  rows, _ = single_rows(4001, sizes=[24])
  batch = pairs_of(corrupt, rows, sentence_pairs=kind)
  # Of those in order, the places of the cut.
  middles = (batch["input_ids"] == vocab.end_id).argmax(axis=1)
  counts = np.bincount(middles[batch["pair_labels"] == 1])
  assert np.flatnonzero(counts).tolist() == [5, 9, 13, 17, 21]
  assert abs(sigmas_from_uniform(counts[counts > 0])) < SIGMAS


@pytest.mark.parametrize("kind", ["nsp", "sop"])
def test_a_single_word_is_no_pair_and_has_no_weight(
  corrupt, vocab, ordinary, kind
):
  rows = np.full([9, LENGTH], vocab.pad_id)
  rows[:, :3] = vocab.start_id, ordinary[0], vocab.end_id
  rows[3, 1], rows[3, 2] = vocab.end_id, vocab.pad_id  # Nothing at all.
  rows[4] = vocab.pad_id
  batch = pairs_of(corrupt, rows, sentence_pairs=kind)
  assert not batch["pair_weights"].any()
  assert not batch["type_ids"].any()
  size = len(batch["input_ids"])
  ones = [i for i in range(size) if i not in (3, 4)]
  np.testing.assert_array_equal(batch["input_ids"][ones], rows[ones])


@pytest.mark.parametrize("kind", ["nsp", "sop"])
def test_pairs_are_masked_at_the_mask_rate_but_for_special_tokens(
  corrupt, single_rows, vocab, chosen_of, kind
):
  rows, _ = single_rows(400)
  plain = pairs_of(corrupt, rows, sentence_pairs=kind)["input_ids"]
  batch = corrupt(rows, sentence_pairs=kind, mask_rate=0.3)
  chosen = chosen_of(batch)
  assert vocab.is_ordinary[plain[chosen]].all()
  asked = batch["target_weights"] > 0
  assert (
    batch["target_ids"][asked]
    == plain[np.nonzero(asked)[0], batch["target_positions"][asked]]
  ).all()
  np.testing.assert_array_equal(batch["input_ids"][~chosen], plain[~chosen])
  maskable = vocab.is_ordinary[plain].sum(axis=1)
  assert (np.abs(chosen.sum(axis=1) - 0.3 * maskable) <= 0.5 + 1e-4).all()


@pytest.mark.parametrize("kind", ["nsp", "sop"])
def test_pairs_are_equal_for_any_number_of_processes(
  make_config, write_store, single_rows, vocab, tmp_path, kind
):
  rows, _ = single_rows(40)
  store = write_store(
    tmp_path / "store", vocab, LENGTH, train=rows, heldout=rows[:5]
  )
  config = make_config(
    **{
      "data.packing": "single",
      "data.vocab_size": vocab.size,
      "corruption.sentence_pairs": kind,
    }
  )
  stream = Stream(config, {"": store})
  for batches, source in (
    (pipeline.train_batches, stream),
    (pipeline.heldout_batches, store),
  ):
    parts = [
      next(iterate(batches(config, source, vocab, local_rows=rows)))
      for rows in [
        lambda _, bounds=bounds: bounds
        for bounds in [(0, 8), (0, 2), (2, 4), (4, 6), (6, 8)]
      ]
    ]
    whole = parts.pop(0)
    for name, value in whole.items():
      joined = np.concatenate([part[name] for part in parts])
      np.testing.assert_array_equal(value, joined)


def test_heldout_negatives_are_not_from_the_same_document(
  make_config, write_store, single_rows, vocab, tmp_path
):
  """In the store, the next row goes on with the same document."""
  rows, _ = single_rows(64)
  store = write_store(
    tmp_path / "store", vocab, LENGTH, train=rows[:8], heldout=rows
  )
  config = make_config(
    **{
      "data.packing": "single",
      "data.vocab_size": vocab.size,
      "corruption.sentence_pairs": "nsp",
      "train.batch_size": 64,
    }
  )
  batch = next(iterate(pipeline.heldout_batches(config, store, vocab)))
  apart, seen = [], set()
  for row, types, label in zip(
    *(batch[k] for k in ("input_ids", "type_ids", "pair_labels")), strict=True
  ):
    # A word of each side that is unmasked tells where it is from.
    first, second = (
      [i for i, text in enumerate(rows) if np.isin(side, text).mean() > 0.7]
      for side in halves(row, types, vocab)
    )
    seen |= set(first) if len(first) == 1 else set()
    if not label and len(first) == len(second) == 1:
      apart.append(second[0] - first[0])
  assert len(apart) > 5 and len(seen) > 20
  assert sum(distance == 1 for distance in apart) < 3


@pytest.mark.parametrize(
  ("overrides", "said"),
  [
    ({"data.packing": "best_fit"}, "data.packing='single'"),
    ({"objective.name": "rtd"}, "objective.name='mlm'"),
    ({"corruption.kind": "uniform_mask_rate"}, "uniform_mask_rate"),
    ({"model.num_types": 1}, "model.num_types"),
    (
      {"objective.span_boundary": True, "corruption.kind": "spans"},
      "objective.span_boundary",
    ),
  ],
)
def test_invalid_combinations_with_sentence_pairs_raise_input_error(
  overrides, said
):
  values = config_lib.default()
  values.data.packing = "single"
  values.corruption.sentence_pairs = "nsp"
  values.update_from_flattened_dict(overrides)
  with pytest.raises(InputError) as raised:
    config_lib.build(values)
  assert said in str(raised.value)
  assert "\n" not in str(raised.value)
