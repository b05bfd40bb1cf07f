"""Masks for an encoder, and what batches of all corruptions depend on."""

import dataclasses

import numpy as np
import pytest

from mlm_jax import registry
from mlm_jax.config import CorruptionConfig
from mlm_jax.config.corruption import NOISES
from mlm_jax.data.corruption import bind
from mlm_jax.errors import InputError

SIGMAS = 5
KINDS = [
  {"kind": "token_masking"},
  {"kind": "whole_words"},
  {"kind": "spans"},
  {"kind": "spans", "span_law": "inverse", "max_span": 3},
  {"kind": "uniform_mask_rate"},
]
WITHOUT_MASKS = [
  kind for kind, cls in registry.CORRUPTIONS.items() if cls.task != "fill_masks"
]
ALL_KINDS = [
  *KINDS,
  *({"kind": kind} for kind in WITHOUT_MASKS),
  {"kind": "bart", "noises": ",".join(NOISES)},
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
def test_exactly_the_mask_rate_of_maskable_tokens_is_predicted(
  corrupt, random_rows, ordinary, mask_rate, seq_len
):
  rows = random_rows(200, seq_len)
  batch = corrupt(rows, mask_rate=mask_rate)
  slots = bind(CorruptionConfig(mask_rate=mask_rate)).num_targets(seq_len)
  assert batch["target_weights"].shape == (200, slots)
  maskable = np.isin(rows, ordinary).sum(axis=1)
  count = batch["target_weights"].sum(axis=1)
  # Rounded to the nearest; on the half, either way; at least one.
  wanted = np.maximum(mask_rate * maskable, np.minimum(maskable, 1))
  assert (np.abs(count - wanted) <= 0.5 + 1e-4).all()
  assert ((count > 0) == (maskable > 0)).all()
  # Real targets first, then those that weigh nothing.
  assert set(np.unique(batch["target_weights"])) <= {0, 1}
  assert (np.diff(batch["target_weights"], axis=1) <= 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("mask_share", "random_share"), SPLITS)
def test_only_targets_are_replaced_and_no_special_is_a_target(
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
def test_rows_without_maskable_tokens_are_unchanged(corrupt, vocab, kind):
  rows = np.full([2, 8], vocab.pad_id)
  rows[1, :2] = vocab.start_id, vocab.end_id
  batch = corrupt(rows, mask_rate=0.5, **kind)
  assert batch["target_weights"].sum() == 0
  np.testing.assert_array_equal(batch["input_ids"], rows)


@pytest.mark.parametrize(("mask_share", "random_share"), SPLITS)
def test_targets_are_replaced_by_masks_random_tokens_or_themselves(
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


def test_random_tokens_are_no_bytes(corrupt, full_rows, vocab, ordinary):
  """Unless there is nothing else."""
  rows = full_rows(300, 128)
  shares = {"mask_rate": 0.5, "mask_share": 0.0, "random_share": 1.0}

  def drawn(byte_ids):
    changed = dataclasses.replace(vocab, byte_ids=tuple(map(int, byte_ids)))
    batch = corrupt(rows, vocab=changed, **shares)
    return set(batch["input_ids"][targets_of(batch)].tolist())

  assert drawn(ordinary[:200]) == set(ordinary[200:].tolist())
  assert drawn(ordinary) == set(ordinary.tolist())


def test_target_positions_are_uniform(corrupt, full_rows, sigmas_from_uniform):
  rows = full_rows(4000, 128)
  batch = corrupt(rows, mask_rate=0.15)
  _, position = targets_of(batch)
  counts = np.bincount(position, minlength=128)
  assert counts[0] == counts[-1] == 0
  # A row has 19 different ones of 126 positions, so its counts vary less.
  variance = (1 - 19 / 126) * 126 / 125
  assert abs(sigmas_from_uniform(counts[1:-1], variance)) < SIGMAS


def test_masks_of_neighbouring_rows_and_tokens_are_uncorrelated(
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
def test_batches_depend_on_the_position_in_the_stream_alone(
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
def test_equal_rows_at_other_positions_have_other_masks(
  corrupt, full_rows, kind
):
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
def test_every_row_has_enough_target_slots(mask_rate):
  for seq_len in range(8, 600):
    slots = bind(CorruptionConfig(mask_rate=mask_rate)).num_targets(seq_len)
    assert round(mask_rate * seq_len) <= slots <= seq_len
    assert slots < mask_rate * seq_len + 8


@pytest.mark.parametrize("kind", KINDS[:2])
def test_the_mask_rate_moves_to_the_final_one(corrupt, full_rows, kind):
  rows = full_rows(50, 128)
  rates = {"mask_rate": 0.3, "final_mask_rate": 0.1}
  for progress, rate in ((0.0, 0.3), (0.5, 0.2), (1.0, 0.1)):
    batch = corrupt(rows, progress=progress, **rates, **kind)
    assert batch["target_ids"].shape[1] == 40
    found = batch["target_weights"].sum(axis=1).mean()
    assert rate * 126 - 2.5 < found < rate * 126 + 0.5


def test_masks_per_row_sets_the_number_of_targets(corrupt, full_rows):
  rows = full_rows(50, 64)
  batch = corrupt(rows, masks_per_row=1)
  assert (batch["target_weights"].sum(axis=1) == 1).all()
  assert batch["target_ids"].shape[1] == 4


def test_masks_per_row_excludes_a_final_mask_rate():
  with pytest.raises(InputError, match="final_mask_rate must be 0"):
    CorruptionConfig(masks_per_row=1, final_mask_rate=0.1)


@pytest.mark.parametrize(
  ("old", "new"),
  [
    ("uniform_masking", "uniform_mask_rate"),
    ("denoising", "bart"),
    ("fragment", "mass"),
    ("conditional_masking", "cmlm"),
  ],
)
def test_a_renamed_kind_raises_input_error_with_the_new_name(old, new):
  with pytest.raises(InputError, match=f"corruption.kind={old!r}.*{new!r}"):
    CorruptionConfig(kind=old)


@pytest.mark.parametrize(
  "options",
  [
    {"kind": "spans", "mask_rate": 0.6},
    {"kind": "span_corruption", "mask_rate": 0.8},
    {"kind": "span_corruption", "mask_rate": 0.1, "mean_span": 0.5},
    {"kind": "bart", "mask_rate": 0.6},
    *({"kind": k, "masks_per_row": 1} for k in ("mass", "prefix")),
    {"kind": "prefix", "next_token_share": 0.1},
    {"next_token_share": 0.6, "prefix_share": 0.6},
  ],
)
def test_keys_that_a_kind_cannot_have_raise_input_error(options):
  with pytest.raises(InputError, match="corruption") as raised:
    CorruptionConfig(**options)
  *_, key = options
  assert f"corruption.{key}" in str(raised.value)
  assert "\n" not in str(raised.value)
