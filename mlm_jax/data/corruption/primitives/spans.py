"""Spans: how long they are, and where they lie.

A place is a word or a token, as the caller has it. What a span has past the end
of its document falls on the start of the next one.
"""

import math
from typing import NamedTuple

import numpy as np

from mlm_jax.config import CorruptionConfig
from mlm_jax.data.corruption import choosing
from mlm_jax.data.corruption.choosing import Chosen, Words
from mlm_jax.data.corruption.documents import scattered, squeeze
from mlm_jax.data.corruption.draws import Draws, threshold
from mlm_jax.data.corruption.sorting import ascending, largest
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.vocabulary import Vocabulary


class Spans(NamedTuple):
  """The spans of words of rows, in the order of their drawing.

  Attributes:
    starts_BS: the word that each begins with, or stands before if it is empty.
    lengths_BS: how many words it has.
    fits_BS: was there room for it?
    number_BL: the number from 1 of the span that a token lies in, 0 for none.
  """

  starts_BS: tf.Tensor
  lengths_BS: tf.Tensor
  fits_BS: tf.Tensor
  number_BL: tf.Tensor


def choose_spans(
  rows_BL: tf.Tensor,
  rate: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> Chosen:
  """Chooses spans of words (Joshi et al. 2020, Lan et al. 2020).

  A word is left between any two of them.
  """
  length = rows_BL.shape[1]
  slots = corruption.num_hidden(length)
  words = choosing.find_words(rows_BL, vocab)
  spans = draw_spans(words, corruption, span_law(corruption), draws)
  hidden_BL = hide(spans, words, rate, corruption)
  index_BL = tf.broadcast_to(tf.range(length), tf.shape(rows_BL))
  positions_BP = squeeze(index_BL, hidden_BL, slots, 0)
  count_B1 = tf.reduce_sum(tf.cast(hidden_BL, tf.int32), axis=1, keepdims=True)
  # A span is shown as one thing.
  number_BP = tf.gather(spans.number_BL, positions_BP, batch_dims=1)
  bits_BS = draws.bits(spans.starts_BS.shape[1] + 1)
  action_BP = tf.gather(bits_BS, number_BP, batch_dims=1)
  return Chosen(positions_BP, tf.range(slots) < count_B1, action_BP)


def span_law(corruption: CorruptionConfig) -> np.ndarray:
  """Returns the probabilities of spans of 0, 1, 2, ... max_span words."""
  lengths = np.arange(1, corruption.max_span + 1)
  if corruption.span_law == "geometric":
    law = (1 - corruption.span_p) ** lengths
  else:
    law = 1 / lengths
  return np.concatenate([[0], law / law.sum()])


def poisson_law(mean: float) -> np.ndarray:
  """Returns the probabilities of 0, 1, 2, ... of a Poisson law, but for 1e-6."""
  law = [math.exp(-mean)]
  while sum(law) < 1 - 1e-6:
    law.append(law[-1] * mean / len(law))
  return np.array(law) / sum(law)


def draw_spans(
  words: Words, corruption: CorruptionConfig, law: np.ndarray, draws: Draws
) -> Spans:
  """Returns more spans, almost surely, than any rate needs."""
  length = words.word_BL.shape[1]
  mean = law @ np.arange(len(law))
  hidden = corruption.num_hidden(length)
  num_spans = min(length, 8 + math.ceil(1.25 * hidden / mean))
  drawn_BS = tf.cast(draws.bits(num_spans), tf.int64)
  lengths_BS = sum(
    tf.cast(drawn_BS >= threshold(p), tf.int32) for p in np.cumsum(law)[:-1]
  )
  # The last that has room is as long as there is room for.
  room_BS = words.count_B[:, None] - tf.cumsum(
    lengths_BS + 1, axis=1, exclusive=True
  )
  lengths_BS = tf.where(
    room_BS > 0, tf.minimum(lengths_BS, room_BS), lengths_BS
  )
  starts_BS, fits_BS = place(lengths_BS, words.count_B, draws.order(length))
  number_BL = choosing.of_word(
    _numbers(starts_BS, lengths_BS, fits_BS, length), words, outside=0
  )
  return Spans(starts_BS, lengths_BS, fits_BS, number_BL)


def hide(
  spans: Spans, words: Words, rate: tf.Tensor, corruption: CorruptionConfig
) -> tf.Tensor:
  """Returns bool [B, L], the tokens of as many spans as the rate asks for.

  They are taken in the order of their drawing, which is that of no place; the
  last is cut to whole words.
  """
  length = words.word_BL.shape[1]
  count_B1 = choosing.count_hidden(words.maskable_BL, rate, corruption)
  before_BL = tf.cumsum(
    tf.cast(words.maskable_BL, tf.int32), axis=1, exclusive=True
  )
  # Of each word, and of the end, how many tokens stand before it.
  before_BW = squeeze(before_BL, words.starts_BL, length + 1, length)
  total_B1 = before_BL[:, -1:] + tf.cast(words.maskable_BL[:, -1:], tf.int32)
  before_BW = tf.minimum(before_BW, total_B1)
  at = lambda x_BW, places: tf.gather(x_BW, places, batch_dims=1)
  start_BS = at(before_BW, tf.minimum(spans.starts_BS, length))
  end_BS = tf.minimum(spans.starts_BS + spans.lengths_BS, length)
  size_BS = tf.where(spans.fits_BS, at(before_BW, end_BS) - start_BS, 0)
  left_BS = count_B1 - tf.cumsum(size_BS, axis=1, exclusive=True)
  # A word is hidden if it ends before what is left does.
  limit_BS = tf.pad(start_BS + left_BS, [[0, 0], [1, 0]])
  ends_BL = at(before_BW, words.word_BL + 1)
  return (spans.number_BL > 0) & (ends_BL <= at(limit_BS, spans.number_BL))


def noise_spans(
  rows_BL: tf.Tensor,
  rate: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> tf.Tensor:
  """Returns bool [B, L]: T5's spans of tokens (Raffel et al. 2020).

  The share of a row's tokens that is hidden is cut into as many spans as make
  their mean length `mean_span`; all ways to do so are equally likely. A token is
  left between any two.
  """
  length = rows_BL.shape[1]
  maskable_BL = tf.gather(vocab.is_ordinary, rows_BL)
  number_BL = tf.cumsum(tf.cast(maskable_BL, tf.int32), axis=1)
  tokens = Words(maskable_BL, maskable_BL, number_BL - 1, number_BL[:, -1])
  hidden_B1 = choosing.count_hidden(maskable_BL, rate, corruption)
  mean = corruption.mean_span
  spans_B1 = tf.cast(tf.round(tf.cast(hidden_B1, tf.float32) / mean), tf.int32)
  spans_B1 = tf.minimum(tf.maximum(spans_B1, 1), hidden_B1)
  most = corruption.num_hidden(length), corruption.num_spans(length)
  lengths_BS = cut(hidden_B1, spans_B1, *most, draws)
  starts_BS, fits_BS = place(lengths_BS, tokens.count_B, draws.order(length))
  number_BL = _numbers(starts_BS, lengths_BS, fits_BS, length)
  return choosing.of_word(number_BL, tokens, outside=0) > 0


def cut(
  whole_B1: tf.Tensor,
  parts_B1: tf.Tensor,
  most: int,
  most_parts: int,
  draws: Draws,
) -> tf.Tensor:
  """Returns int32 [B, most_parts], `whole` cut into `parts`, each 1 or more.

  All ways to cut are equally likely; past the last part there are zeros.
  """
  # Between each two of the whole there is a place to cut, but after the last.
  order_BN = draws.order(most)
  is_place_BN = tf.range(most) < whole_B1 - 1
  cuts_BS = largest(choosing.lowest_outside(is_place_BN, order_BN), most_parts)
  is_cut_BS = tf.range(most_parts) < parts_B1 - 1
  ends_BS = ascending(tf.where(is_cut_BS, cuts_BS + 1, whole_B1))
  ends_BS = tf.cast(ends_BS, tf.int32)
  return ends_BS - tf.pad(ends_BS[:, :-1], [[0, 0], [1, 0]])


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
  thing_BS = largest(
    choosing.lowest_outside(is_thing_BL, order_BL), lengths_BS.shape[1]
  )
  # Each span before it is a thing of more than one place.
  places_BL = scattered(thing_BS, taken_BS, order_BL.shape[1])
  moved_BL = tf.cumsum(places_BL, axis=1, exclusive=True)
  return thing_BS + tf.gather(moved_BL, thing_BS, batch_dims=1), fits_BS


def _numbers(starts_BS, lengths_BS, fits_BS, length):
  """Returns the number of the span that a place lies in, from 1, 0 for none."""
  number_BS = tf.where(fits_BS, tf.range(1, starts_BS.shape[1] + 1), 0)
  # It steps up where a span starts and down where it ends; those without room
  # may be anywhere, and step by 0.
  places = tf.concat([starts_BS, starts_BS + lengths_BS], axis=1)
  steps = tf.concat([number_BS, -number_BS], axis=1)
  steps_BL = scattered(tf.minimum(places, length), steps, length + 1)
  return tf.cumsum(steps_BL, axis=1)[:, :length]
