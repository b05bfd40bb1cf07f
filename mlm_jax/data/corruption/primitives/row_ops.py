"""Sorting, summing, gathering and compacting the rows of a batch.

In NumPy, within tf.data: on CPUs TensorFlow's own sort, cumsum, batched gather
and scatter take five to twenty times as long, and were most of the time of a
corruption. NumPy releases Python's lock, so that batches are made in parallel.
"""

from __future__ import annotations

import numpy as np

from mlm_jax.data.host_tensorflow import tf

# More than the positions of a row.
MAX_POSITIONS = 1 << 20

_LOWEST = np.iinfo(np.int32).min


def sort_rows(numbers_BL: tf.Tensor) -> tf.Tensor:
  """Returns int64 [B, L], the numbers of each row in ascending order."""
  return _numpy(
    lambda numbers_BL: np.sort(numbers_BL, axis=1),
    [tf.cast(numbers_BL, tf.int64)],
    tf.int64,
    numbers_BL.shape,
  )


def top_k(keys_BL: tf.Tensor, k: int) -> tf.Tensor:
  """Returns int32 [B, k], the positions of each row's largest int32 keys.

  In descending order of the keys; of equal keys the first position comes first,
  on every machine.
  """

  def positions(keys_BL):
    # A key and its position are one number, so that no two are equal.
    both_BL = ~keys_BL.astype(np.int64) * MAX_POSITIONS
    both_BL += np.arange(keys_BL.shape[1])
    both_BL.sort(axis=1)
    return (both_BL[:, :k] & (MAX_POSITIONS - 1)).astype(np.int32)

  return _numpy(positions, [keys_BL], tf.int32, [keys_BL.shape[0], k])


def cumulative_sum(values_BL: tf.Tensor, exclusive: bool = False) -> tf.Tensor:
  """Returns int32 [B, L], the sums of each row up to each position.

  Args:
    values_BL: numbers or booleans.
    exclusive: whether the position itself is left out.
  """

  def sums(values_BL):
    sums_BL = np.cumsum(values_BL, axis=1, dtype=np.int32)
    return sums_BL - values_BL if exclusive else sums_BL

  return _numpy(sums, [values_BL], tf.int32, values_BL.shape)


def gather(values_BK: tf.Tensor, index_BL: tf.Tensor) -> tf.Tensor:
  """Returns [B, L], the values of each row at the indices of that row."""

  def gathered(values_BK, index_BL):
    first_B1 = np.arange(len(values_BK))[:, None] * values_BK.shape[1]
    return np.take(values_BK, index_BL + first_B1)

  return _numpy(
    gathered, [values_BK, index_BL], values_BK.dtype, index_BL.shape
  )


def mask_keys(allowed_BL: tf.Tensor, keys_BL: tf.Tensor) -> tf.Tensor:
  """Returns the keys, below all others where a position is not allowed."""
  return tf.where(allowed_BL, tf.maximum(keys_BL, _LOWEST + 1), _LOWEST)


def compact(
  values_BL: tf.Tensor, kept_BL: tf.Tensor, length: int, fill: int
) -> tf.Tensor:
  """Returns [B, length], the kept values of each row without gaps.

  Values past `length` are cut off; missing ones are `fill`.
  """

  def compacted(values_BL, kept_BL):
    where = np.flatnonzero(kept_BL)
    counts_B = np.count_nonzero(kept_BL, axis=1)
    first_B = np.cumsum(counts_B) - counts_B
    rank = np.arange(len(where)) - np.repeat(first_B, counts_B)
    row = np.repeat(np.arange(len(counts_B)) * length, counts_B)
    fits = rank < length
    result_BK = np.full([len(counts_B), length], fill, values_BL.dtype)
    result_BK.put((row + rank)[fits], np.take(values_BL, where[fits]))
    return result_BK

  return _numpy(
    compacted,
    [values_BL, kept_BL],
    values_BL.dtype,
    [values_BL.shape[0], length],
  )


def scatter_sum(
  positions_BS: tf.Tensor, values_BS: tf.Tensor, length: int
) -> tf.Tensor:
  """Returns [B, length], the sum of the values at each position."""

  def scattered(positions_BS, values_BS):
    sums_BL = np.zeros([len(positions_BS), length], values_BS.dtype)
    row_B1 = np.arange(len(positions_BS))[:, None]
    np.add.at(sums_BL, (row_B1, positions_BS), values_BS)
    return sums_BL

  return _numpy(
    scattered,
    [positions_BS, values_BS],
    values_BS.dtype,
    [positions_BS.shape[0], length],
  )


def run_starts(mask_BL: tf.Tensor) -> tf.Tensor:
  """Returns bool [B, L], true at the first of each run of true values."""
  return mask_BL & ~tf.pad(mask_BL[:, :-1], [[0, 0], [1, 0]])


def _numpy(function, inputs, dtype, shape) -> tf.Tensor:
  """Returns what a NumPy function of some tensors returns."""
  found = tf.numpy_function(function, inputs, dtype, stateful=False)
  return tf.ensure_shape(found, shape)
