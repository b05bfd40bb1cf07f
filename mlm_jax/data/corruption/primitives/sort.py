"""Sorting, compacting and scattering the rows of a batch."""

from __future__ import annotations

import numpy as np

from mlm_jax.data.host_tensorflow import tf

# More than the positions of a row.
MAX_POSITIONS = 1 << 20

_LOWEST = np.iinfo(np.int32).min

# NumPy sorts: TensorFlow's own sort and top_k take up to ten times as long on
# CPUs, and were half of the time of a corruption.


def sort_rows(numbers_BL: tf.Tensor) -> tf.Tensor:
  """Returns int64 [B, L], the numbers of each row in ascending order."""
  found = tf.numpy_function(
    lambda numbers_BL: np.sort(numbers_BL, axis=1),
    [tf.cast(numbers_BL, tf.int64)],
    tf.int64,
    stateful=False,
  )
  return tf.ensure_shape(found, numbers_BL.shape)


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

  found = tf.numpy_function(positions, [keys_BL], tf.int32, stateful=False)
  return tf.ensure_shape(found, [keys_BL.shape[0], k])


def mask_keys(allowed_BL: tf.Tensor, keys_BL: tf.Tensor) -> tf.Tensor:
  """Returns the keys, below all others where a position is not allowed."""
  return tf.where(allowed_BL, tf.maximum(keys_BL, _LOWEST + 1), _LOWEST)


def compact(
  values_BL: tf.Tensor, kept_BL: tf.Tensor, length: int, fill: int
) -> tf.Tensor:
  """Returns [B, length], the kept values of each row without gaps.

  Values past `length` are cut off; missing ones are `fill`.
  """
  # A ragged tensor copies row by row: a scatter costs six times as much.
  kept_B = tf.reduce_sum(tf.cast(kept_BL, tf.int64), axis=1)
  ragged = tf.RaggedTensor.from_row_lengths(
    tf.boolean_mask(values_BL, kept_BL), kept_B, validate=False
  )
  return tf.ensure_shape(
    ragged.to_tensor(fill, shape=[None, length]), [None, length]
  )


def scatter_sum(
  positions_BS: tf.Tensor, values_BS: tf.Tensor, length: int
) -> tf.Tensor:
  """Returns [B, length], the sum of the values at each position."""
  num_rows = tf.shape(positions_BS)[0]
  rows_BS = tf.broadcast_to(tf.range(num_rows)[:, None], tf.shape(positions_BS))
  where = tf.stack([rows_BS, positions_BS], axis=-1)
  return tf.scatter_nd(where, values_BS, [num_rows, length])


def run_starts(mask_BL: tf.Tensor) -> tf.Tensor:
  """Returns bool [B, L], true at the first of each run of true values."""
  return mask_BL & ~tf.pad(mask_BL[:, :-1], [[0, 0], [1, 0]])
