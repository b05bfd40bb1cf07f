"""Which tokens are hidden: single ones, whole words, or any number of them.

Where a rate says how many, they are the tokens with the largest keys, of which
the tokens of a word have the same. A word that the count would cut is left out
whole.
"""

from typing import NamedTuple

import numpy as np

from mlm_jax.config import CorruptionConfig
from mlm_jax.data.corruption.documents import (
  Documents,
  find_documents,
  squeeze,
)
from mlm_jax.data.corruption.draws import Draws, below
from mlm_jax.data.corruption.sorting import largest
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.errors import require
from mlm_jax.vocabulary import Vocabulary

_LOWEST = tf.int32.min


class Chosen(NamedTuple):
  """The targets of a batch, in P slots a row.

  Attributes:
    positions_BP: where they are; the real ones come first.
    is_target_BP: is there one in the slot?
    action_BP: uint32, by which it is decided what is shown in its place.
  """

  positions_BP: tf.Tensor
  is_target_BP: tf.Tensor
  action_BP: tf.Tensor


class Words(NamedTuple):
  """The words of rows, consecutively numbered in each.

  Attributes:
    maskable_BL: is this token no special?
    starts_BL: does it begin a word?
    word_BL: the number of its word, -1 for specials.
    count_B: how many there are.
  """

  maskable_BL: tf.Tensor
  starts_BL: tf.Tensor
  word_BL: tf.Tensor
  count_B: tf.Tensor


def find_words(rows_BL: tf.Tensor, vocab: Vocabulary) -> Words:
  """Returns the words; what follows a special token begins one, too.

  Raises:
    InputError: no piece of the vocabulary begins a word.
  """
  require(
    vocab.starts_word[vocab.is_ordinary].any(),
    "no piece of this tokenizer begins a word, as whole_words, spans and "
    "text_infilling need",
  )
  # Special, continuing a word, or beginning one: looked up once.
  kinds = np.where(vocab.is_ordinary, 1 + vocab.starts_word, 0).astype(np.int8)
  kind_BL = tf.gather(kinds, rows_BL)
  maskable_BL = kind_BL > 0
  after_special_BL = tf.pad(
    ~maskable_BL[:, :-1], [[0, 0], [1, 0]], constant_values=True
  )
  starts_BL = maskable_BL & ((kind_BL == 2) | after_special_BL)
  number_BL = tf.cumsum(tf.cast(starts_BL, tf.int32), axis=1)
  word_BL = tf.where(maskable_BL, number_BL - 1, -1)
  return Words(maskable_BL, starts_BL, word_BL, number_BL[:, -1])


def choose_tokens(
  rows_BL: tf.Tensor,
  rate: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> Chosen:
  """Chooses each token by itself (Devlin et al. 2019)."""
  length = rows_BL.shape[1]
  slots = corruption.num_hidden(length)
  maskable_BL = tf.gather(vocab.is_ordinary, rows_BL)
  key_BL = lowest_outside(maskable_BL, draws.order(length))
  positions_BP = largest(key_BL, slots)
  count_B1 = count_hidden(maskable_BL, rate, corruption)
  return Chosen(positions_BP, tf.range(slots) < count_B1, draws.bits(slots))


def choose_words(
  rows_BL: tf.Tensor,
  rate: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> Chosen:
  """Chooses whole words, whatever number of tokens they have."""
  slots = corruption.num_hidden(rows_BL.shape[1])
  words = find_words(rows_BL, vocab)
  key_BL = of_word(draws.order(rows_BL.shape[1]), words)
  count_B1 = count_hidden(words.maskable_BL, rate, corruption)
  positions_BP, is_target_BP = take_whole(key_BL, words, count_B1, slots)
  return Chosen(positions_BP, is_target_BP, draws.bits(slots))


def choose_any_number(
  rows_BL: tf.Tensor,
  rate: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> Chosen:
  """Chooses any number of each document's tokens (Ghazvininejad et al. 2019)."""
  length = rows_BL.shape[1]
  docs = find_documents(rows_BL, vocab)
  hidden_BL = any_number(rows_BL, docs, vocab, draws)
  count_B1 = tf.reduce_sum(tf.cast(hidden_BL, tf.int32), axis=1, keepdims=True)
  index_BL = tf.broadcast_to(tf.range(length), tf.shape(rows_BL))
  positions_BP = squeeze(index_BL, hidden_BL, length, 0)
  return Chosen(positions_BP, tf.range(length) < count_B1, draws.bits(length))


def any_number(
  rows_BL: tf.Tensor, docs: Documents, vocab: Vocabulary, draws: Draws
) -> tf.Tensor:
  """Returns bool [B, L], from one token of a document to all, each as often."""
  # Where each token is hidden with the same probability, and that is uniform,
  # then so is their number, from none on; one more is hidden in any case.
  bits_BL = draws.bits(rows_BL.shape[1])
  hidden_BL = bits_BL < docs.of_token(docs.draw(draws))
  one_BM = docs.begins_BM + below(docs.sizes_BM, docs.draw(draws))
  hidden_BL |= tf.range(rows_BL.shape[1]) == docs.of_token(one_BM)
  return hidden_BL & docs.inside_BL & tf.gather(vocab.is_ordinary, rows_BL)


def count_hidden(maskable_BL, rate, corruption):
  """Returns int32 [B, 1], how many tokens of a row are to be hidden."""
  maskable_B1 = tf.reduce_sum(
    tf.cast(maskable_BL, tf.int32), axis=1, keepdims=True
  )
  if corruption.masks_per_row:
    return tf.minimum(corruption.masks_per_row, maskable_B1)
  return tf.cast(tf.round(rate * tf.cast(maskable_B1, tf.float32)), tf.int32)


def of_word(values_BW, words, outside=_LOWEST):
  """Returns [B, L], what the word of a token has."""
  of_word_BL = tf.gather(values_BW, tf.maximum(words.word_BL, 0), batch_dims=1)
  return tf.where(words.maskable_BL, of_word_BL, outside)


def take_whole(key_BL, words, count_B1, slots):
  """Returns positions and is_target of the words with the largest keys."""
  key_BL = lowest_outside(words.maskable_BL, key_BL)
  # Of equal keys the first are taken: a word's tokens follow each other.
  positions_BP = largest(key_BL, min(slots + 1, key_BL.shape[1]))
  word_BL = tf.where(words.maskable_BL, words.word_BL, -1)
  word_BP = tf.gather(word_BL, positions_BP, batch_dims=1)
  cut_B1 = tf.gather(word_BP, count_B1, batch_dims=1)
  is_target_BP = tf.range(word_BP.shape[1]) < count_B1
  is_target_BP &= (word_BP != cut_B1) & (word_BP >= 0)
  return positions_BP[:, :slots], is_target_BP[:, :slots]


def lowest_outside(where_BL, key_BL):
  return tf.where(where_BL, tf.maximum(key_BL, _LOWEST + 1), _LOWEST)
