"""Rows that predict the next token, among rows with masks."""

import numpy as np

SIGMAS = 5


def test_rows_are_masked_or_predict_the_next_token(corrupt, random_rows, vocab):
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
