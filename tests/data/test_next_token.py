"""Next tokens are predicted, from a document's start or after a prefix."""

import numpy as np
import pytest

SIGMAS = 5


def documents_of(row, vocab):
  """Yields (first, last + 1) of each document of a row."""
  starts = np.flatnonzero(row == vocab.start_id)
  for start in starts:
    size = np.flatnonzero(row[start:] == vocab.end_id)[0] + 1
    yield start, start + size


@pytest.mark.parametrize("kind", [{"kind": "next_token"}, {"kind": "prefix"}])
def test_all_tokens_but_starts_and_prefixes_are_predicted(
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


def test_prefix_lengths_are_uniform(corrupt, full_rows, sigmas_from_uniform):
  prefix = corrupt(full_rows(6000, 20), kind="prefix")["prefix"]
  counts = np.bincount(prefix.sum(axis=1), minlength=20)
  assert counts[0] == 0
  assert abs(sigmas_from_uniform(counts[1:])) < SIGMAS
