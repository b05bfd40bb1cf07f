"""MASS: one fragment of each document is masked and generated."""

import numpy as np
import pytest

from tests.data.packed import documents_of

SIGMAS = 5


@pytest.mark.parametrize("mask_rate", [0.3, 0.5])
def test_one_fragment_of_each_document_is_masked_and_decoded(
  corrupt, random_rows, vocab, mask_rate
):
  rows = random_rows(100, 64)
  batch = corrupt(
    rows, kind="mass", mask_rate=mask_rate, mask_share=1, random_share=0
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


def test_fragment_positions_are_uniform(
  corrupt, full_rows, sigmas_from_uniform
):
  batch = corrupt(full_rows(4000, 22), kind="mass", mask_rate=0.5)
  begins = np.bincount(batch["decoder_positions"][:, 0], minlength=11)
  assert begins.size == 11
  assert abs(sigmas_from_uniform(begins)) < SIGMAS
