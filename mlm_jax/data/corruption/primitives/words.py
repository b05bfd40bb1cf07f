"""The words of packed rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlm_jax.data.corruption.primitives import segmenters
from mlm_jax.data.corruption.primitives.row_ops import (
  cumulative_sum,
  gather,
  mask_keys,
  top_k,
)
from mlm_jax.data.host_tensorflow import tf
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

  maskable_BL: tf.Tensor
  starts_BL: tf.Tensor
  word_BL: tf.Tensor
  count_B: tf.Tensor

  def gather(self, values_BW: tf.Tensor, outside: int) -> tf.Tensor:
    """Returns [B, L], the value of each token's word, or `outside` of words."""
    of_word_BL = gather(values_BW, tf.maximum(self.word_BL, 0))
    return tf.where(self.maskable_BL, of_word_BL, outside)


def find_words(rows_BL: tf.Tensor, vocab: Vocabulary, boundaries: str) -> Words:
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
  role_BL = tf.gather(roles, rows_BL)
  maskable_BL = role_BL > 0
  after_special_BL = tf.pad(
    ~maskable_BL[:, :-1], [[0, 0], [1, 0]], constant_values=True
  )
  starts_BL = maskable_BL & ((role_BL == 2) | after_special_BL)
  return _numbered(maskable_BL, starts_BL)


def _segmented(rows_BL: tf.Tensor, vocab: Vocabulary, boundaries: str) -> Words:
  segment = segmenters.segmenter(boundaries)
  starts_BL = tf.numpy_function(
    lambda rows_BL: segmenters.word_starts(rows_BL, vocab, segment),
    [rows_BL],
    tf.bool,
    stateful=False,
  )
  starts_BL = tf.ensure_shape(starts_BL, rows_BL.shape)
  return _numbered(tf.gather(vocab.is_ordinary, rows_BL), starts_BL)


def tokens_as_words(rows_BL: tf.Tensor, vocab: Vocabulary) -> Words:
  """Returns the ordinary tokens, each as a word of its own."""
  maskable_BL = tf.gather(vocab.is_ordinary, rows_BL)
  return _numbered(maskable_BL, maskable_BL)


def _numbered(maskable_BL: tf.Tensor, starts_BL: tf.Tensor) -> Words:
  """Returns words, given where each begins."""
  number_BL = cumulative_sum(starts_BL)
  word_BL = tf.where(maskable_BL, number_BL - 1, -1)
  return Words(maskable_BL, starts_BL, word_BL, number_BL[:, -1])


def take_whole_words(
  keys_BW: tf.Tensor, words: Words, count_B1: tf.Tensor, slots: int
) -> tuple[tf.Tensor, tf.Tensor]:
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
  is_target_BP = tf.range(word_BP.shape[1]) < count_B1
  is_whole_BP = (word_BP != cut_B1) | (word_BP[:, :1] == cut_B1)
  is_target_BP &= is_whole_BP & (word_BP >= 0)
  return positions_BP[:, :slots], is_target_BP[:, :slots]
