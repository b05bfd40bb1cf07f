"""Random numbers that depend on the seed and a row's position alone."""

from __future__ import annotations

import numpy as np

# Philox4x32 (Salmon et al. 2011): the multipliers, what each half of the key
# grows by from round to round, and the rounds.
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_GROWTH = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10

_32 = np.uint64(32)
_LOW_32 = np.uint64(0xFFFFFFFF)


class RowRandom:
  """Random numbers for consecutive rows of the stream.

  Philox is counter-based, with four numbers a counter value: a row owns the
  counter values from `position * values_per_row` on, so one call serves any
  stretch of the stream. Each call reads a random stream of its own, so the
  order of the calls is part of what is computed.

  Args:
    seed: selects among all random streams.
    first_position: the position of the first row.
    num_rows: how many rows there are.
    first_stream: the number of the random stream that the first call reads.
  """

  def __init__(
    self,
    seed: int,
    first_position: int,
    num_rows: int,
    first_stream: int = 0,
  ):
    self._seed, self._first, self._num_rows = seed, first_position, num_rows
    self._stream = first_stream

  def bits(self, width: int) -> np.ndarray:
    """Returns uint32 [num_rows, width], uniform over all values."""
    values_per_row = -(-width // 4)
    bits = philox(
      self._seed,
      self._first * values_per_row,
      self._stream,
      self._num_rows * values_per_row,
    )
    self._stream += 1
    return bits.reshape(self._num_rows, 4 * values_per_row)[:, :width]

  def sort_keys(self, width: int) -> np.ndarray:
    """Returns int32 [num_rows, width]; sorting by it is a random order."""
    return self.bits(width).view(np.int32)


def philox(key: int, first: int, stream: int, count: int) -> np.ndarray:
  """Returns uint32 [count, 4], the numbers of consecutive counter values.

  They are those of TensorFlow's Philox.

  Args:
    key: below 2^64.
    first: the lower half of the first counter value, below 2^64.
    stream: the upper half of all of them.
    count: how many there are.
  """
  counters = np.arange(first, first + count, dtype=np.uint64)
  x0, x1 = counters & _LOW_32, counters >> _32
  x2 = np.full_like(counters, stream & 0xFFFFFFFF)
  x3 = np.full_like(counters, stream >> 32)
  product_0, product_1 = np.empty_like(x0), np.empty_like(x0)
  for number in range(_ROUNDS):
    key_0, key_1 = (
      np.uint64(half + number * growth & 0xFFFFFFFF)
      for half, growth in zip((key, key >> 32), _GROWTH, strict=True)
    )
    np.multiply(x0, _MULTIPLIERS[0], out=product_0)
    np.multiply(x2, _MULTIPLIERS[1], out=product_1)
    np.right_shift(product_1, _32, out=x0)
    x0 ^= x1
    x0 ^= key_0
    np.right_shift(product_0, _32, out=x2)
    x2 ^= x3
    x2 ^= key_1
    np.bitwise_and(product_1, _LOW_32, out=x1)
    np.bitwise_and(product_0, _LOW_32, out=x3)
  numbers = np.empty([count, 4], np.uint32)
  for column, words in enumerate((x0, x1, x2, x3)):
    numbers[:, column] = words
  return numbers


def uniform_int(bound: int | np.ndarray, bits: np.ndarray) -> np.ndarray:
  """Returns int32 in [0, bound) from uint32 bits, without a division."""
  return (bits.astype(np.int64) * bound >> 32).astype(np.int32)


def threshold(probability: float) -> np.uint64:
  """Returns what uint32 bits are below with this probability."""
  return np.uint64(round(probability * 2**32))
