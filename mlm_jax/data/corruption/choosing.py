"""Which tokens are predicted: single ones, whole words, or spans of words.

Each function returns `Chosen`, of `count` tokens a row at most. All of them take
the tokens with the largest keys; they differ in the keys, of which the tokens of
a word have the same. A word that the count would cut is left out whole.
"""

import math
from typing import NamedTuple

import numpy as np

from mlm_jax.config import CorruptionConfig
from mlm_jax.data.corruption.draws import Draws, threshold
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.data.tokenizer import Vocabulary
from mlm_jax.errors import require

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
    word_BL: the number of its word, -1 for specials.
    count_B: how many there are.
  """

  maskable_BL: tf.Tensor
  word_BL: tf.Tensor
  count_B: tf.Tensor


def find_words(rows_BL: tf.Tensor, vocab: Vocabulary) -> Words:
  """Returns the words; what follows a special token begins one, too.

  Raises:
    InputError: no piece of the vocabulary begins a word.
  """
  require(
    vocab.starts_word[vocab.is_ordinary].any(),
    "no piece of this tokenizer begins a word: only "
    "corruption.kind='token_masking' can do without words",
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
  return Words(maskable_BL, word_BL, number_BL[:, -1])


def choose_tokens(
  rows_BL: tf.Tensor,
  rate: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> Chosen:
  """Chooses each token by itself (Devlin et al. 2019)."""
  length = rows_BL.shape[1]
  slots = corruption.num_targets(length)
  maskable_BL = tf.gather(vocab.is_ordinary, rows_BL)
  key_BL = _lowest_outside(maskable_BL, draws.order(length))
  _, positions_BP = tf.math.top_k(key_BL, slots)
  count_B1 = _count(maskable_BL, rate, corruption)
  return Chosen(positions_BP, tf.range(slots) < count_B1, draws.bits(slots))


def choose_words(
  rows_BL: tf.Tensor,
  rate: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> Chosen:
  """Chooses whole words, whatever number of tokens they have."""
  slots = corruption.num_targets(rows_BL.shape[1])
  words = find_words(rows_BL, vocab)
  key_BL = _of_word(draws.order(rows_BL.shape[1]), words)
  count_B1 = _count(words.maskable_BL, rate, corruption)
  positions_BP, is_target_BP = _take_whole(key_BL, words, count_B1, slots)
  return Chosen(positions_BP, is_target_BP, draws.bits(slots))


def choose_spans(
  rows_BL: tf.Tensor,
  rate: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> Chosen:
  """Chooses spans of words (Joshi et al. 2020, Lan et al. 2020).

  A word is left between any two of them. What a span has past the end of its
  document falls on the start of the next one.
  """
  length = rows_BL.shape[1]
  slots = corruption.num_targets(length)
  words = find_words(rows_BL, vocab)
  law = span_law(corruption)
  # Enough, almost surely: what is not needed is left out below.
  mean = law @ np.arange(1, len(law) + 1)
  num_spans = min(length, 8 + math.ceil(1.25 * slots / mean))
  drawn_BS = tf.cast(draws.bits(num_spans), tf.int64)
  lengths_BS = 1 + sum(
    tf.cast(drawn_BS >= threshold(p), tf.int32) for p in np.cumsum(law)[:-1]
  )
  # A short row has short spans, rather than none.
  lengths_BS = tf.minimum(lengths_BS, tf.maximum(words.count_B, 1)[:, None])
  starts_BS, fits_BS = place(lengths_BS, words.count_B, draws.order(length))
  span_BL = _of_word(
    _numbers(starts_BS, lengths_BS, fits_BS, length), words, outside=0
  )
  # Spans in the order of their drawing, which is that of no place.
  chosen = words._replace(maskable_BL=span_BL > 0)
  count_B1 = _count(words.maskable_BL, rate, corruption)
  positions_BP, is_target_BP = _take_whole(-span_BL, chosen, count_B1, slots)
  # A span is shown as one thing.
  span_BP = tf.gather(span_BL, positions_BP, batch_dims=1)
  action_BP = tf.gather(draws.bits(num_spans + 1), span_BP, batch_dims=1)
  return Chosen(positions_BP, is_target_BP, action_BP)


def span_law(corruption: CorruptionConfig) -> np.ndarray:
  """Returns the probabilities of spans of 1, 2, ... max_span words."""
  lengths = np.arange(1, corruption.max_span + 1)
  if corruption.span_law == "geometric":
    law = (1 - corruption.span_p) ** lengths
  else:
    law = 1 / lengths
  return law / law.sum()


def place(
  lengths_BS: tf.Tensor, room_B: tf.Tensor, order_BL: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns where spans start, and which of them there is room for.

  All ways to lay them out with something between are equally likely: the spans,
  each with the place after it (which may be the end), and the places left over
  stand in random order.

  Args:
    lengths_BS: of the spans.
    room_B: how many places a row has, fewer than L.
    order_BL: random numbers.
  """
  room_B1 = room_B[:, None] + 1
  fits_BS = tf.cumsum(lengths_BS + 1, axis=1) <= room_B1
  taken_BS = tf.where(fits_BS, lengths_BS, 0)
  things_B1 = room_B1 - tf.reduce_sum(taken_BS, axis=1, keepdims=True)
  is_thing_BL = tf.range(order_BL.shape[1]) < things_B1
  _, thing_BS = tf.math.top_k(
    _lowest_outside(is_thing_BL, order_BL), lengths_BS.shape[1]
  )
  # Each span before it is a thing of more than one place.
  places_BL = _scattered(thing_BS, taken_BS, order_BL.shape[1])
  moved_BL = tf.cumsum(places_BL, axis=1, exclusive=True)
  return thing_BS + tf.gather(moved_BL, thing_BS, batch_dims=1), fits_BS


def _numbers(starts_BS, lengths_BS, fits_BS, length):
  """Returns the number of the span that a place lies in, from 1, 0 for none."""
  number_BS = tf.where(fits_BS, tf.range(1, starts_BS.shape[1] + 1), 0)
  # It steps up where a span starts and down where it ends; those without room
  # may be anywhere, and step by 0.
  places = tf.concat([starts_BS, starts_BS + lengths_BS], axis=1)
  steps = tf.concat([number_BS, -number_BS], axis=1)
  steps_BL = _scattered(tf.minimum(places, length), steps, length + 1)
  return tf.cumsum(steps_BL, axis=1)[:, :length]


def _scattered(places, values, length):
  """Returns [B, length], the sum of the values at each place."""
  batch = tf.shape(places)[0]
  rows = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(places))
  where = tf.stack([rows, places], axis=-1)
  return tf.scatter_nd(where, values, [batch, length])


def _count(maskable_BL, rate, corruption):
  maskable_B1 = tf.reduce_sum(
    tf.cast(maskable_BL, tf.int32), axis=1, keepdims=True
  )
  if corruption.masks_per_row:
    return tf.minimum(corruption.masks_per_row, maskable_B1)
  return tf.cast(tf.round(rate * tf.cast(maskable_B1, tf.float32)), tf.int32)


def _of_word(values_BW, words, outside=_LOWEST):
  of_word_BL = tf.gather(values_BW, tf.maximum(words.word_BL, 0), batch_dims=1)
  return tf.where(words.maskable_BL, of_word_BL, outside)


def _take_whole(key_BL, words, count_B1, slots):
  """Returns positions and is_target of the words with the largest keys."""
  key_BL = _lowest_outside(words.maskable_BL, key_BL)
  # Of equal keys top_k takes the first: a word's tokens follow each other.
  _, positions_BP = tf.math.top_k(key_BL, min(slots + 1, key_BL.shape[1]))
  word_BL = tf.where(words.maskable_BL, words.word_BL, -1)
  word_BP = tf.gather(word_BL, positions_BP, batch_dims=1)
  cut_B1 = tf.gather(word_BP, count_B1, batch_dims=1)
  is_target_BP = tf.range(word_BP.shape[1]) < count_B1
  is_target_BP &= (word_BP != cut_B1) & (word_BP >= 0)
  return positions_BP[:, :slots], is_target_BP[:, :slots]


def _lowest_outside(where_BL, key_BL):
  return tf.where(where_BL, tf.maximum(key_BL, _LOWEST + 1), _LOWEST)
