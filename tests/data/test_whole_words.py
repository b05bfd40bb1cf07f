"""Words are masked whole, as by whole_words and spans."""

import dataclasses

import numpy as np
import pytest

from mlm_jax.errors import InputError

KINDS = [
  {"kind": "whole_words"},
  {"kind": "spans"},
  {"kind": "spans", "span_law": "inverse", "max_span": 3},
]


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask_rate", [0.05, 0.15, 0.3])
def test_words_are_masked_whole_and_the_mask_rate_is_not_exceeded(
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_without_words_raises_input_error(
  corrupt, full_rows, vocab, kind
):
  vocab = dataclasses.replace(vocab, starts_word=np.zeros(vocab.size, bool))
  with pytest.raises(InputError, match="begins a word"):
    corrupt(full_rows(2, 16), vocab=vocab, **kind)
