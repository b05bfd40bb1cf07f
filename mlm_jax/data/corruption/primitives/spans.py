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
  count,
  cumulative_sum,
  gather,
  mask_keys,
  scatter_sum,
  top_k,
)
from mlm_jax.data.corruption.primitives.words import Words


class Spans(NamedTuple):
  """The spans of words of rows, in the order in which they were sampled.

  Attributes:
    starts_BS: the first word of each span, or the word after an empty one.
    lengths_BS: the number of words.
    fits_BS: whether there is room for the span.
  """

  starts_BS: np.ndarray
  lengths_BS: np.ndarray
  fits_BS: np.ndarray


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
  bits_BS = random.bits(num_spans)
  bounds = np.array([threshold(p) for p in np.cumsum(law)[:-1]])
  lengths_BS = np.searchsorted(bounds, bits_BS, "right").astype(np.int32)
  # The last span that begins within the row is cut to the words left there.
  room_BS = words.count_B[:, None] - cumulative_sum(
    lengths_BS + 1, exclusive=True
  )
  lengths_BS = np.where(
    room_BS > 0, np.minimum(lengths_BS, room_BS), lengths_BS
  )
  starts_BS, fits_BS = place(
    lengths_BS, words.count_B, random.sort_keys(length)
  )
  return Spans(starts_BS, lengths_BS, fits_BS)


def select(spans: Spans, words: Words, count_B1: np.ndarray) -> np.ndarray:
  """Selects spans until they have `count_B1` tokens; the last is cut to words.

  They are taken in the order of their sampling, which no position has a part
  in.

  Returns:
    int32 [B, L], the number from 1 of each token's span if it is selected, or
    else 0.
  """
  length = words.word_BL.shape[1]
  before_BW = words.num_tokens_before()
  at = lambda words_BS: gather(before_BW, np.minimum(words_BS, length))
  size_BS = at(spans.starts_BS + spans.lengths_BS) - at(spans.starts_BS)
  size_BS = np.where(spans.fits_BS, size_BS, 0)
  left_BS = count_B1 - cumulative_sum(size_BS, exclusive=True)
  exceeds_BS = size_BS > left_BS
  taken_BS = np.where(exceeds_BS, 0, spans.lengths_BS)
  # Of the first span that exceeds the count, the words that do not.
  row_B, cut_B = np.arange(len(size_BS)), np.argmax(exceeds_BS, axis=1)
  start_B1 = spans.starts_BS[row_B, cut_B, None]
  ends_BS = at(start_B1 + np.arange(1, spans.lengths_BS.max(initial=0) + 1))
  fits_BS = ends_BS - at(start_B1) <= left_BS[row_B, cut_B, None]
  fits_BS &= exceeds_BS[row_B, cut_B, None]
  taken_BS[row_B, cut_B] += count(fits_BS)[:, 0]
  number_BW = span_numbers(spans.starts_BS, taken_BS, spans.fits_BS, length)
  return words.gather(number_BW, outside=0)


def random_partition(
  total_B1: np.ndarray,
  parts_B1: np.ndarray,
  max_total: int,
  max_parts: int,
  random: RowRandom,
) -> np.ndarray:
  """Cuts totals into parts of 1 or more; all partitions are equally likely.

  Returns:
    int32 [B, max_parts], the sizes of the parts in order, 0 past the last.
  """
  # The total may be cut after each of its units but the last.
  keys_BC = random.sort_keys(max_total)
  is_cut_BC = np.arange(max_total) < total_B1 - 1
  cuts_BS = top_k(mask_keys(is_cut_BC, keys_BC), max_parts)
  is_cut_BS = np.arange(max_parts) < parts_B1 - 1
  ends_BS = np.sort(np.where(is_cut_BS, cuts_BS + 1, total_B1), axis=1)
  return np.diff(ends_BS, axis=1, prepend=np.int32(0))


def place(
  lengths_BS: np.ndarray, room_B: np.ndarray, keys_BL: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
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
  taken_BS = np.where(fits_BS, lengths_BS, 0)
  items_B1 = room_B1 - np.sum(taken_BS, axis=1, keepdims=True)
  is_item_BL = np.arange(keys_BL.shape[1]) < items_B1
  item_BS = top_k(mask_keys(is_item_BL, keys_BL), lengths_BS.shape[1])
  # Each span before an item is itself an item, of more than one position.
  sizes_BL = scatter_sum(item_BS, taken_BS, keys_BL.shape[1])
  shift_BL = cumulative_sum(sizes_BL, exclusive=True)
  return item_BS + gather(shift_BL, item_BS), fits_BS


def span_numbers(
  starts_BS: np.ndarray,
  lengths_BS: np.ndarray,
  fits_BS: np.ndarray,
  length: int,
) -> np.ndarray:
  """Returns int32 [B, length], the number from 1 of the span at a position.

  It is 0 where there is none.
  """
  number_BS = np.where(
    fits_BS, np.arange(1, starts_BS.shape[1] + 1, dtype=np.int32), 0
  )
  # The number steps up where a span starts and down where it ends; spans
  # without room may be anywhere, and step by 0.
  positions = np.concatenate([starts_BS, starts_BS + lengths_BS], axis=1)
  steps = np.concatenate([number_BS, -number_BS], axis=1)
  steps_BL = scatter_sum(np.minimum(positions, length), steps, length + 1)
  return cumulative_sum(steps_BL)[:, :length]
