"""Spans of words or tokens: how long they are, and where they lie.

The part of a span past the end of its document falls on the start of the next
one.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mlm_jax.data.corruption.primitives.random import RowRandom, threshold
from mlm_jax.data.corruption.primitives.row_ops import (
  compact,
  cumulative_sum,
  gather,
  mask_keys,
  scatter_sum,
  sort_rows,
  top_k,
)
from mlm_jax.data.corruption.primitives.words import Words
from mlm_jax.data.host_tensorflow import tf


class Spans(NamedTuple):
  """The spans of words of rows, in the order in which they were sampled.

  Attributes:
    starts_BS: the first word of each span, or the word after an empty one.
    lengths_BS: the number of words.
    fits_BS: whether there is room for the span.
    number_BL: the number from 1 of each token's span, 0 for none.
  """

  starts_BS: tf.Tensor
  lengths_BS: tf.Tensor
  fits_BS: tf.Tensor
  number_BL: tf.Tensor


def poisson_law(mean: float) -> np.ndarray:
  """Returns the Poisson probabilities of 0, 1, 2, ..., all but 1e-6 of them."""
  law = [math.exp(-mean)]
  while sum(law) < 1 - 1e-6:
    law.append(law[-1] * mean / len(law))
  return np.array(law) / sum(law)


def sample_spans(
  words: Words, max_tokens: int, law: np.ndarray, random: RowRandom
) -> Spans:
  """Samples more spans, almost surely, than any rate needs.

  Args:
    words: of the rows.
    max_tokens: the most tokens of a row that are masked.
    law: the probabilities of lengths 0, 1, 2, ..., in words.
    random: two random streams of it.
  """
  length = words.word_BL.shape[1]
  mean = law @ np.arange(len(law))
  num_spans = min(length, 8 + math.ceil(1.25 * max_tokens / mean))
  bits_BS = tf.cast(random.bits(num_spans), tf.int64)
  lengths_BS = sum(
    tf.cast(bits_BS >= threshold(p), tf.int32) for p in np.cumsum(law)[:-1]
  )
  # The last span that begins within the row is cut to the words left there.
  room_BS = words.count_B[:, None] - cumulative_sum(
    lengths_BS + 1, exclusive=True
  )
  lengths_BS = tf.where(
    room_BS > 0, tf.minimum(lengths_BS, room_BS), lengths_BS
  )
  starts_BS, fits_BS = place(
    lengths_BS, words.count_B, random.sort_keys(length)
  )
  number_BW = span_numbers(starts_BS, lengths_BS, fits_BS, length)
  number_BL = words.gather(number_BW, outside=0)
  return Spans(starts_BS, lengths_BS, fits_BS, number_BL)


def select(spans: Spans, words: Words, count_B1: tf.Tensor) -> tf.Tensor:
  """Selects spans until they have `count_B1` tokens; the last is cut to words.

  They are taken in the order of their sampling, which no position has a part
  in.

  Returns:
    bool [B, L], true for the tokens of selected spans.
  """
  length = words.word_BL.shape[1]
  before_BL = cumulative_sum(words.maskable_BL, exclusive=True)
  # The number of tokens before each word, and before the end of the row.
  before_BW = compact(before_BL, words.starts_BL, length + 1, length)
  total_B1 = before_BL[:, -1:] + tf.cast(words.maskable_BL[:, -1:], tf.int32)
  before_BW = tf.minimum(before_BW, total_B1)
  start_BS = gather(before_BW, tf.minimum(spans.starts_BS, length))
  end_BS = tf.minimum(spans.starts_BS + spans.lengths_BS, length)
  size_BS = tf.where(spans.fits_BS, gather(before_BW, end_BS) - start_BS, 0)
  left_BS = count_B1 - cumulative_sum(size_BS, exclusive=True)
  # A word is selected if it ends within the tokens that are left.
  limit_BS = tf.pad(start_BS + left_BS, [[0, 0], [1, 0]])
  ends_BL = gather(before_BW, words.word_BL + 1)
  return (spans.number_BL > 0) & (ends_BL <= gather(limit_BS, spans.number_BL))


def random_partition(
  total_B1: tf.Tensor,
  parts_B1: tf.Tensor,
  max_total: int,
  max_parts: int,
  random: RowRandom,
) -> tf.Tensor:
  """Cuts totals into parts of 1 or more; all partitions are equally likely.

  Returns:
    int32 [B, max_parts], the sizes of the parts in order, 0 past the last.
  """
  # The total may be cut after each of its units but the last.
  keys_BC = random.sort_keys(max_total)
  is_cut_BC = tf.range(max_total) < total_B1 - 1
  cuts_BS = top_k(mask_keys(is_cut_BC, keys_BC), max_parts)
  is_cut_BS = tf.range(max_parts) < parts_B1 - 1
  ends_BS = sort_rows(tf.where(is_cut_BS, cuts_BS + 1, total_B1))
  ends_BS = tf.cast(ends_BS, tf.int32)
  return ends_BS - tf.pad(ends_BS[:, :-1], [[0, 0], [1, 0]])


def place(
  lengths_BS: tf.Tensor, room_B: tf.Tensor, keys_BL: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Places spans at random with a gap of at least 1 between any two.

  All placements are equally likely: the spans, each with the position after it
  (which may be the end), and the remaining positions stand in random order.

  Args:
    lengths_BS: the lengths of the spans.
    room_B: the number of positions of each row, below L.
    keys_BL: random sort keys.

  Returns:
    starts_BS int32, and fits_BS bool: whether there is room for the span.
  """
  room_B1 = room_B[:, None] + 1
  fits_BS = cumulative_sum(lengths_BS + 1) <= room_B1
  taken_BS = tf.where(fits_BS, lengths_BS, 0)
  items_B1 = room_B1 - tf.reduce_sum(taken_BS, axis=1, keepdims=True)
  is_item_BL = tf.range(keys_BL.shape[1]) < items_B1
  item_BS = top_k(mask_keys(is_item_BL, keys_BL), lengths_BS.shape[1])
  # Each span before an item is itself an item, of more than one position.
  sizes_BL = scatter_sum(item_BS, taken_BS, keys_BL.shape[1])
  shift_BL = cumulative_sum(sizes_BL, exclusive=True)
  return item_BS + gather(shift_BL, item_BS), fits_BS


def span_numbers(
  starts_BS: tf.Tensor, lengths_BS: tf.Tensor, fits_BS: tf.Tensor, length: int
) -> tf.Tensor:
  """Returns int32 [B, length], the number from 1 of the span at a position.

  It is 0 where there is none.
  """
  number_BS = tf.where(fits_BS, tf.range(1, starts_BS.shape[1] + 1), 0)
  # The number steps up where a span starts and down where it ends; spans
  # without room may be anywhere, and step by 0.
  positions = tf.concat([starts_BS, starts_BS + lengths_BS], axis=1)
  steps = tf.concat([number_BS, -number_BS], axis=1)
  steps_BL = scatter_sum(tf.minimum(positions, length), steps, length + 1)
  return cumulative_sum(steps_BL)[:, :length]
