"""The words of packed rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlm_jax.data.corruption.primitives import segmenters
from mlm_jax.data.corruption.primitives.row_ops import (
  compact,
  count,
  cumulative_sum,
  gather,
  mask_keys,
  run_starts,
  top_k,
)
from mlm_jax.errors import require
from mlm_jax.vocabulary import Vocabulary


class Words(NamedTuple):
  """The words of rows, numbered from 0 in each row.

  Attributes:
    maskable_BL: whether a token is ordinary, not a special token.
    starts_BL: whether a token begins a word.
    word_BL: the number of each token's word, -1 for special tokens.
    count_B: the number of words.
  """

  maskable_BL: np.ndarray
  starts_BL: np.ndarray
  word_BL: np.ndarray
  count_B: np.ndarray

  def gather(self, values_BW: np.ndarray, outside: int) -> np.ndarray:
    """Returns [B, L], the value of each token's word, or `outside` of words."""
    of_word_BL = gather(values_BW, np.maximum(self.word_BL, 0))
    return np.where(self.maskable_BL, of_word_BL, outside)

  def num_tokens_before(self) -> np.ndarray:
    """Returns int32 [B, L + 1], the ordinary tokens before each word.

    Past the last word, those of the row.
    """
    before_BL = cumulative_sum(self.maskable_BL, exclusive=True)
    length = before_BL.shape[1]
    before_BW = compact(before_BL, self.starts_BL, length + 1, length)
    return np.minimum(before_BW, count(self.maskable_BL))


def find_words(
  rows_BL: np.ndarray, vocab: Vocabulary, boundaries: str
) -> Words:
  """Returns the words; a token after a special one begins a word, too.

  Args:
    rows_BL: the rows.
    vocab: their vocabulary.
    boundaries: corruption.word_boundaries.

  Raises:
    InputError: no piece of the vocabulary begins a word, or the segmenter is
      missing.
  """
  if boundaries != "spaces":
    return _segmented(rows_BL, vocab, boundaries)
  require(
    vocab.starts_word[vocab.is_ordinary].any(),
    "no piece of this tokenizer begins a word, as whole_words, spans and "
    "text_infilling need",
  )
  # One lookup: 0 for a special token, 1 inside a word, 2 at its beginning.
  roles = np.where(vocab.is_ordinary, 1 + vocab.starts_word, 0).astype(np.int8)
  role_BL = np.take(roles, rows_BL)
  maskable_BL = role_BL > 0
  starts_BL = (role_BL == 2) | run_starts(maskable_BL)
  return _numbered(maskable_BL, starts_BL)


def _segmented(
  rows_BL: np.ndarray, vocab: Vocabulary, boundaries: str
) -> Words:
  segment = segmenters.segmenter(boundaries)
  starts_BL = segmenters.word_starts(rows_BL, vocab, segment)
  return _numbered(np.take(vocab.is_ordinary, rows_BL), starts_BL)


def tokens_as_words(rows_BL: np.ndarray, vocab: Vocabulary) -> Words:
  """Returns the ordinary tokens, each as a word of its own."""
  maskable_BL = np.take(vocab.is_ordinary, rows_BL)
  return _numbered(maskable_BL, maskable_BL)


def _numbered(maskable_BL: np.ndarray, starts_BL: np.ndarray) -> Words:
  """Returns words, given where each begins."""
  number_BL = cumulative_sum(starts_BL)
  word_BL = np.where(maskable_BL, number_BL - 1, -1)
  return Words(maskable_BL, starts_BL, word_BL, number_BL[:, -1])


def take_whole_words(
  keys_BW: np.ndarray, words: Words, count_B1: np.ndarray, slots: int
) -> tuple[np.ndarray, np.ndarray]:
  """Takes whole words in descending order of their keys.

  The word that would exceed the count is dropped whole, never split, unless it
  is the first: a word longer than the count is cut.

  Args:
    keys_BW: int32, random.
    words: the words.
    count_B1: the number of tokens to take.
    slots: P, at least every count.

  Returns:
    positions_BP int32 and is_target_BP bool, the taken tokens first.
  """
  outside = np.iinfo(np.int32).min
  keys_BL = mask_keys(words.maskable_BL, words.gather(keys_BW, outside))
  # Of equal keys the first are taken: a word's tokens follow each other.
  positions_BP = top_k(keys_BL, min(slots + 1, keys_BL.shape[1]))
  word_BP = gather(words.word_BL, positions_BP)
  cut_B1 = gather(word_BP, count_B1)
  is_target_BP = np.arange(word_BP.shape[1]) < count_B1
  is_whole_BP = (word_BP != cut_B1) | (word_BP[:, :1] == cut_B1)
  is_target_BP &= is_whole_BP & (word_BP >= 0)
  return positions_BP[:, :slots], is_target_BP[:, :slots]
