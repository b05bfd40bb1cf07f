"""What is masked, with what, how often; and on what that depends."""

import dataclasses

import numpy as np
import pytest

from mlm_jax.config import CorruptionConfig
from mlm_jax.config.corruption import CONTINUING, NOISES, REWRITING
from mlm_jax.errors import InputError

SIGMAS = 5
KINDS = [
  {"kind": "token_masking"},
  {"kind": "whole_words"},
  {"kind": "spans"},
  {"kind": "spans", "span_law": "inverse", "max_span": 3},
  {"kind": "uniform_masking"},
]
ALL_KINDS = [
  *KINDS,
  *({"kind": kind} for kind in CONTINUING + REWRITING),
  {"kind": "denoising", "noises": ",".join(NOISES)},
  {"next_token_share": 0.25, "prefix_share": 0.25},
  {"sentence_pairs": "sop"},
]
SPLITS = [(0.8, 0.1), (1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (0.5, 0.25)]


def assert_equal(left, right):
  assert left.keys() == right.keys()
  for name in left:
    np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def targets_of(batch):
  """Returns (row, position) of each real target."""
  row, slot = np.nonzero(batch["target_weights"])
  return row, batch["target_positions"][row, slot]


@pytest.mark.parametrize("mask_rate", [0.01, 0.15, 0.4, 0.99])
@pytest.mark.parametrize("seq_len", [8, 33, 128])
def test_exactly_the_rate_of_maskable_tokens_is_predicted(
  corrupt, random_rows, ordinary, mask_rate, seq_len
):
  rows = random_rows(200, seq_len)
  batch = corrupt(rows, mask_rate=mask_rate)
  slots = CorruptionConfig(mask_rate=mask_rate).num_targets(seq_len)
  assert batch["target_weights"].shape == (200, slots)
  maskable = np.isin(rows, ordinary).sum(axis=1)
  count = batch["target_weights"].sum(axis=1)
  # Rounded to the nearest; on the half, either way.
  assert (np.abs(count - mask_rate * maskable) <= 0.5 + 1e-4).all()
  # Real targets first, then those that weigh nothing.
  assert set(np.unique(batch["target_weights"])) <= {0, 1}
  assert (np.diff(batch["target_weights"], axis=1) <= 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("mask_share", "random_share"), SPLITS)
def test_only_targets_differ_and_no_special_is_a_target(
  corrupt, random_rows, vocab, mask_share, random_share, kind
):
  rows = random_rows(300, 64)
  shares = {"mask_share": mask_share, "random_share": random_share}
  batch = corrupt(rows, mask_rate=0.4, **shares, **kind)
  row, position = targets_of(batch)
  chosen = np.zeros_like(rows, bool)
  chosen[row, position] = True
  assert chosen.sum() == row.size, "no position is a target twice"
  assert not np.isin(rows[chosen], vocab.special_ids).any()
  np.testing.assert_array_equal(batch["input_ids"][~chosen], rows[~chosen])
  # Also where the weight is 0: what is there is the row itself.
  np.testing.assert_array_equal(
    batch["target_ids"],
    np.take_along_axis(rows, batch["target_positions"], axis=1),
  )
  shown = batch["input_ids"][chosen]
  others = np.setdiff1d(vocab.special_ids, [vocab.mask_id])
  assert not np.isin(shown, others).any()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_a_maskable_token_stay_as_they_are(corrupt, vocab, kind):
  rows = np.full([2, 8], vocab.pad_id)
  rows[1, :2] = vocab.start_id, vocab.end_id
  batch = corrupt(rows, mask_rate=0.5, **kind)
  assert batch["target_weights"].sum() == 0
  np.testing.assert_array_equal(batch["input_ids"], rows)


@pytest.mark.parametrize(("mask_share", "random_share"), SPLITS)
def test_targets_are_shown_as_masks_random_tokens_or_themselves(
  corrupt, full_rows, vocab, ordinary, mask_share, random_share
):
  rows = full_rows(600, 128)
  batch = corrupt(
    rows, mask_rate=0.3, mask_share=mask_share, random_share=random_share
  )
  where = targets_of(batch)
  shown, original, count = batch["input_ids"][where], rows[where], len(where[0])
  # A random token is now and then the original.
  lucky = random_share / len(ordinary)
  unchanged = 1 - mask_share - random_share + lucky
  for p, found in (
    (mask_share, np.sum(shown == vocab.mask_id)),
    (unchanged, np.sum(shown == original)),
  ):
    bound = SIGMAS * np.sqrt(count * abs(p * (1 - p))) + 1e-6
    assert abs(found - count * p) <= bound


def test_random_tokens_are_uniform_over_ordinary_ids(
  corrupt, full_rows, vocab, sigmas_from_uniform
):
  rows = full_rows(1500, 128)
  batch = corrupt(rows, mask_rate=0.5, mask_share=0.0, random_share=1.0)
  shown = batch["input_ids"][targets_of(batch)]
  counts = np.bincount(shown, minlength=vocab.size)
  assert counts[list(vocab.special_ids)].sum() == 0
  counts = np.delete(counts, vocab.special_ids)
  assert abs(sigmas_from_uniform(counts)) < SIGMAS


def test_positions_are_uniform(corrupt, full_rows, sigmas_from_uniform):
  rows = full_rows(4000, 128)
  batch = corrupt(rows, mask_rate=0.15)
  _, position = targets_of(batch)
  counts = np.bincount(position, minlength=128)
  assert counts[0] == counts[-1] == 0
  # A row has 19 different ones of 126 positions, so its counts vary less.
  variance = (1 - 19 / 126) * 126 / 125
  assert abs(sigmas_from_uniform(counts[1:-1], variance)) < SIGMAS


def test_masks_are_not_in_the_same_places_as_in_the_row_before(
  corrupt, full_rows
):
  batch = corrupt(full_rows(2000, 128), mask_rate=0.25)
  chosen = np.zeros([2000, 128])
  chosen[targets_of(batch)] = 1
  chosen = chosen[:, 1:-1] - chosen[:, 1:-1].mean()
  for left, right in (
    (chosen[:-1], chosen[1:]),
    (chosen[:, :-1], chosen[:, 1:]),
  ):
    correlation = (left * right).mean() / chosen.var()
    # Exclusion makes neighbours in a row a little less likely: -1 / 125.
    assert abs(correlation) < SIGMAS / np.sqrt(left.size) + 1 / 125


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize("first", [0, 100, 2**33, 10**12])
def test_masks_depend_on_the_place_in_the_stream_alone(
  corrupt, random_rows, first, kind
):
  rows = random_rows(24, 64)
  whole = corrupt(rows, first, **kind)
  for half in (1, 12, 17):
    parts = [
      corrupt(rows[:half], first, **kind),
      corrupt(rows[half:], first + half, **kind),
    ]
    joined = {name: np.concatenate([p[name] for p in parts]) for name in whole}
    assert_equal(joined, whole)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_rows_at_other_places_have_other_masks(corrupt, full_rows, kind):
  rows = np.repeat(full_rows(1, 256), 50, axis=0)
  positions = corrupt(rows, **kind)["target_positions"]
  assert len(np.unique(np.sort(positions, axis=1), axis=0)) == 50
  # The same rows in the next epoch.
  later = corrupt(rows, first=50, **kind)["target_positions"]
  assert (np.sort(positions) != np.sort(later)).any(axis=1).all()


def test_another_seed_gives_other_masks(corrupt, full_rows):
  rows = full_rows(50, 64)
  positions = [
    np.sort(corrupt(rows, seed=seed)["target_positions"]) for seed in (0, 1, 9)
  ]
  for left, right in ((0, 1), (0, 2), (1, 2)):
    assert (positions[left] != positions[right]).any(axis=1).all()
  assert_equal(corrupt(rows, seed=9), corrupt(rows, seed=9))


@pytest.mark.parametrize("mask_rate", [0.01, 0.15, 0.3, 0.5, 0.99])
def test_there_are_slots_for_every_row(mask_rate):
  for seq_len in range(8, 600):
    slots = CorruptionConfig(mask_rate=mask_rate).num_targets(seq_len)
    assert round(mask_rate * seq_len) <= slots <= seq_len
    assert slots < mask_rate * seq_len + 8


def words_of(rows, vocab):
  """Returns the number of each token's word, -1 for specials; a slow way."""
  words = np.full(rows.shape, -1)
  for row in range(len(rows)):
    word, before = -1, True
    for place, token in enumerate(rows[row]):
      special = token in vocab.special_ids
      word += not special and (before or vocab.starts_word[token])
      words[row, place] = -1 if special else word
      before = special
  return words


@pytest.mark.parametrize("kind", KINDS[1:4])
@pytest.mark.parametrize("mask_rate", [0.05, 0.15, 0.3])
def test_words_are_chosen_whole_and_the_rate_is_not_exceeded(
  chosen_of, corrupt, random_rows, vocab, kind, mask_rate
):
  rows = random_rows(200, 128)
  words = words_of(rows, vocab)
  chosen = chosen_of(corrupt(rows, mask_rate=mask_rate, **kind))
  count = np.round(mask_rate * (words >= 0).sum(axis=1))
  assert (chosen.sum(axis=1) <= count).all()
  left_out = count - chosen.sum(axis=1)
  for row in range(len(rows)):
    if (words[row] < 0).all():
      continue
    of_chosen = np.unique(words[row, chosen[row]])
    assert (np.isin(words[row], of_chosen) == chosen[row]).all()
    # What is missing is the word that the count would have cut.
    assert left_out[row] < np.bincount(words[row][words[row] >= 0]).max()
  # Words have three tokens in the mean, the one that is cut has five.
  assert kind["kind"] == "spans" or left_out.mean() < 2.5


@pytest.mark.parametrize("kind", KINDS[:2])
def test_the_rate_moves_to_the_final_one(corrupt, full_rows, kind):
  rows = full_rows(50, 128)
  rates = {"mask_rate": 0.3, "final_mask_rate": 0.1}
  for progress, rate in ((0.0, 0.3), (0.5, 0.2), (1.0, 0.1)):
    batch = corrupt(rows, progress=progress, **rates, **kind)
    assert batch["target_ids"].shape[1] == 40
    found = batch["target_weights"].sum(axis=1).mean()
    assert rate * 126 - 2.5 < found < rate * 126 + 0.5


def test_a_row_may_have_a_number_of_masks(corrupt, full_rows):
  rows = full_rows(50, 64)
  batch = corrupt(rows, masks_per_row=1)
  assert (batch["target_weights"].sum(axis=1) == 1).all()
  assert batch["target_ids"].shape[1] == 4


def documents_of(row, vocab):
  """Yields (first, last + 1) of each document of a row."""
  starts = np.flatnonzero(row == vocab.start_id)
  for start in starts:
    size = np.flatnonzero(row[start:] == vocab.end_id)[0] + 1
    yield start, start + size


@pytest.mark.parametrize("kind", [{"kind": kind} for kind in CONTINUING])
def test_all_but_starts_and_prefixes_are_asked_for(
  corrupt, random_rows, vocab, kind
):
  rows = random_rows(200, 64)
  batch = corrupt(rows, **kind)
  np.testing.assert_array_equal(batch["input_ids"], rows)
  prefix = batch.get("prefix", np.zeros_like(rows))
  for row, prefix_L, targets, weights in zip(
    rows, prefix, batch["target_ids"], batch["target_weights"], strict=True
  ):
    asked = np.zeros(64)
    for start, stop in documents_of(row, vocab):
      size = prefix_L[start:stop].sum()
      # The start at least, and never all of it; in one piece.
      if kind["kind"] == "prefix":
        assert 1 <= size < stop - start
        assert (prefix_L[start : start + size] == 1).all()
      asked[start + max(size, 1) - 1 : stop - 1] = 1
    np.testing.assert_array_equal(weights, asked)
    places = np.flatnonzero(asked)
    np.testing.assert_array_equal(targets[places], row[places + 1])
    assert prefix_L[row == vocab.pad_id].sum() == 0


def test_prefixes_are_of_any_length(corrupt, full_rows, sigmas_from_uniform):
  prefix = corrupt(full_rows(6000, 20), kind="prefix")["prefix"]
  counts = np.bincount(prefix.sum(axis=1), minlength=20)
  assert counts[0] == 0
  assert abs(sigmas_from_uniform(counts[1:])) < SIGMAS


@pytest.mark.parametrize("kind", KINDS[1:4])
def test_without_words_there_are_no_whole_ones(corrupt, full_rows, vocab, kind):
  vocab = dataclasses.replace(vocab, starts_word=np.zeros(vocab.size, bool))
  with pytest.raises(InputError, match="begins a word"):
    corrupt(full_rows(2, 16), vocab=vocab, **kind)


def test_a_number_of_masks_has_no_rate():
  with pytest.raises(InputError, match="final_mask_rate must be 0"):
    CorruptionConfig(masks_per_row=1, final_mask_rate=0.1)


def test_rows_of_a_mixture_are_masked_or_asked_for_what_comes_next(
  corrupt, random_rows, vocab
):
  rows = random_rows(4000, 32)
  rows = rows[rows[:, 0] == vocab.start_id]
  mixed = corrupt(rows, next_token_share=0.2, prefix_share=0.3)
  masked = corrupt(rows)
  real = rows != vocab.pad_id
  whole = ((mixed["prefix"] > 0) | ~real).all(axis=1)
  none = (mixed["prefix"] == 0).all(axis=1)
  count = len(rows)
  # Some prefixes are a document's start alone, but none is nothing.
  for found, share in ((whole, 0.5), (none, 0.2)):
    sigma = np.sqrt(count * share * (1 - share))
    assert abs(found.sum() - count * share) < SIGMAS * sigma
  slots = masked["target_ids"].shape[1]
  for name, value in masked.items():
    wide = mixed[name][whole]
    np.testing.assert_array_equal(wide[:, : value.shape[1]], value[whole])
  assert not mixed["target_weights"][whole, slots:].any()
  np.testing.assert_array_equal(mixed["input_ids"][~whole], rows[~whole])
  after = np.roll(rows, -1, axis=1)
  asked = mixed["target_weights"] > 0
  assert (mixed["target_ids"] == after)[asked & ~whole[:, None]].all()
  ends_or_tokens = np.isin(after, [vocab.start_id, vocab.pad_id], invert=True)
  ends_or_tokens[:, -1] = False
  np.testing.assert_array_equal(asked[none], ends_or_tokens[none])
