"""Words are masked whole, as by whole_words and spans."""

import dataclasses

import numpy as np
import pytest

from mlm_jax.config import DataConfig
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
  maskable = (words >= 0).sum(axis=1)
  count = np.maximum(np.round(mask_rate * maskable), maskable > 0)
  assert (chosen.sum(axis=1) <= count).all()
  assert ((chosen.sum(axis=1) > 0) == (maskable > 0)).all()
  left_out = count - chosen.sum(axis=1)
  for row in range(len(rows)):
    if (words[row] < 0).all():
      continue
    of_chosen = np.unique(words[row, chosen[row]])
    if (words[row] == of_chosen[0]).sum() > count[row]:
      # A word that is longer than all that may be masked is cut.
      assert len(of_chosen) == 1 and chosen[row].sum() == count[row]
      continue
    assert (np.isin(words[row], of_chosen) == chosen[row]).all()
    # What is missing is the word that the count would have cut.
    assert left_out[row] < np.bincount(words[row][words[row] >= 0]).max()
  # Words have three tokens in the mean, the one that is cut has five.
  assert kind["kind"] == "spans" or left_out.mean() < 2.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_of_one_endless_word_has_targets(
  chosen_of, corrupt, full_rows, vocab, kind
):
  """As of a script without spaces, by a tokenizer that shows no words."""
  rows = full_rows(50, 64)
  starts = np.zeros(vocab.size, bool)
  starts[rows[0, 1]] = True  # There must be one.
  rows[rows == rows[0, 1]] = rows[0, 2]
  vocab = dataclasses.replace(vocab, starts_word=starts)
  chosen = chosen_of(corrupt(rows, mask_rate=0.15, vocab=vocab, **kind))
  assert (chosen.sum(axis=1) == round(0.15 * 62)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_scripts_with_and_without_spaces_are_masked_alike(
  chosen_of, corrupt, train_tokenizer, prose, kind
):
  """In a mixed corpus; each piece of Chinese counts as a word."""
  from mlm_jax.data import packing, tokenizers

  rng = np.random.default_rng(0)
  signs = [chr(0x4E00 + n) for n in range(60)]
  chinese = ["".join(rng.choice(signs, 300)) for _ in range(60)]
  texts = [*prose[:60], *chinese]
  data = DataConfig(tokenizer="unigram", vocab_size=700)
  tokenizer = tokenizers.train(texts, data)
  vocab = tokenizer.vocabulary
  encoded = tokenizer.encode(texts)
  rows = np.stack(list(packing.pack(encoded, DataConfig(seq_len=64), vocab)))
  is_chinese = np.array(
    [any(sign in piece for sign in signs) for piece in tokenizer.pieces]
  )
  chosen = chosen_of(corrupt(rows, mask_rate=0.15, vocab=vocab, **kind))
  ordinary = vocab.is_ordinary[rows]
  rates = [
    chosen[ordinary & (is_chinese[rows] == kind)].mean()
    for kind in (False, True)
  ]
  assert rates == pytest.approx([0.15, 0.15], abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tokenizer_without_words_raises_input_error(
  corrupt, full_rows, vocab, kind
):
  vocab = dataclasses.replace(vocab, starts_word=np.zeros(vocab.size, bool))
  with pytest.raises(InputError, match="begins a word"):
    corrupt(full_rows(2, 16), vocab=vocab, **kind)
