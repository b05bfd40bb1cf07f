"""Any number of tokens is masked, for an encoder or, by cmlm, a decoder."""

import numpy as np
import pytest

from tests.data.packed import documents_of

SIGMAS = 5


@pytest.mark.parametrize("kind", ["uniform_mask_rate", "cmlm"])
def test_the_number_of_masks_is_uniform(
  corrupt, full_rows, vocab, sigmas_from_uniform, kind
):
  rows = full_rows(8000, 18)
  rows[:, 8], rows[:, 9] = vocab.end_id, vocab.start_id
  batch = corrupt(rows, kind=kind, mask_rate=0.3)
  if kind == "uniform_mask_rate":
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


def test_target_lengths_are_those_of_the_original_documents(
  corrupt, random_rows, vocab
):
  rows = random_rows(60, 64)
  batch = corrupt(rows, kind="cmlm", mask_rate=0.3)
  for row, seen, lengths in zip(
    rows, batch["input_ids"], batch["target_lengths"], strict=True
  ):
    starts = seen == vocab.start_id
    assert not lengths[~starts].any()
    texts = documents_of(row, vocab)
    assert lengths[starts].tolist() == [len(text) - 2 for text in texts]
