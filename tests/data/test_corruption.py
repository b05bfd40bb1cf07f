"""What is masked, with what, how often; and on what that depends."""

import numpy as np
import pytest
import tensorflow as tf

from mlm_jax.config import CorruptionConfig
from mlm_jax.data import corruption as corruption_lib

SIGMAS = 5
SPLITS = [(0.8, 0.1), (1.0, 0.0), (0.0, 0.0), (0.0, 1.0), (0.5, 0.25)]


@pytest.fixture
def corrupt(vocab):
  def run(rows, first=0, seed=0, **options):
    batch = corruption_lib.corrupt(
      tf.constant(rows, tf.int32),
      tf.constant(first, tf.int64),
      CorruptionConfig(**options),
      vocab,
      seed,
    )
    return {name: value.numpy() for name, value in batch.items()}

  return run


@pytest.fixture
def full_rows(vocab, ordinary):
  """Rows of one piece each, without padding."""

  def make(count, seq_len):
    rows = np.random.default_rng(1).choice(ordinary, [count, seq_len])
    rows[:, 0], rows[:, -1] = vocab.start_id, vocab.end_id
    return rows

  return make


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


@pytest.mark.parametrize(("mask_share", "random_share"), SPLITS)
def test_only_targets_differ_and_no_special_is_a_target(
  corrupt, random_rows, vocab, mask_share, random_share
):
  rows = random_rows(300, 64)
  batch = corrupt(
    rows, mask_rate=0.4, mask_share=mask_share, random_share=random_share
  )
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


def test_rows_without_a_maskable_token_stay_as_they_are(corrupt, vocab):
  rows = np.full([2, 8], vocab.pad_id)
  rows[1, :2] = vocab.start_id, vocab.end_id
  batch = corrupt(rows, mask_rate=0.99)
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


@pytest.mark.parametrize("first", [0, 100, 2**33, 10**12])
def test_masks_depend_on_the_place_in_the_stream_alone(
  corrupt, random_rows, first
):
  rows = random_rows(24, 64)
  whole = corrupt(rows, first)
  for half in (1, 12, 17):
    parts = [corrupt(rows[:half], first), corrupt(rows[half:], first + half)]
    joined = {name: np.concatenate([p[name] for p in parts]) for name in whole}
    assert_equal(joined, whole)


def test_equal_rows_at_other_places_have_other_masks(corrupt, full_rows):
  rows = np.repeat(full_rows(1, 64), 50, axis=0)
  positions = corrupt(rows)["target_positions"]
  assert len(np.unique(np.sort(positions, axis=1), axis=0)) == 50
  # The same rows in the next epoch.
  later = corrupt(rows, first=50)["target_positions"]
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
