"""Random numbers that depend on the seed and a row's position alone."""

from __future__ import annotations

from mlm_jax.data.host_tensorflow import tf

_PHILOX = 1


class RowRandom:
  """Random numbers for consecutive rows of the stream.

  Philox is counter-based, with four numbers a counter value: a row owns the
  counter values from `position * values_per_row` on, so one call serves any
  stretch of the stream. Each call reads a random stream of its own, so the
  order of the calls is part of what is computed.

  Args:
    seed: selects among all random streams.
    first_position: int64 scalar, the position of the first row.
    num_rows: int32 scalar.
    first_stream: the number of the random stream that the first call reads.
  """

  def __init__(
    self,
    seed: int,
    first_position: tf.Tensor,
    num_rows: tf.Tensor,
    first_stream: int = 0,
  ):
    self._seed, self._first, self._num_rows = seed, first_position, num_rows
    self._stream = first_stream

  def bits(self, width: int) -> tf.Tensor:
    """Returns uint32 [num_rows, width], uniform over all values."""
    values_per_row = -(-width // 4)
    bits = tf.raw_ops.StatelessRandomUniformFullIntV2(
      shape=[self._num_rows, 4 * values_per_row],
      key=tf.constant([self._seed], tf.uint64),
      counter=tf.stack(
        [
          tf.cast(self._first * values_per_row, tf.uint64),
          tf.constant(self._stream, tf.uint64),
        ]
      ),
      alg=_PHILOX,
      dtype=tf.uint32,
    )
    self._stream += 1
    return bits[:, :width]

  def sort_keys(self, width: int) -> tf.Tensor:
    """Returns int32 [num_rows, width]; sorting by it is a random order."""
    return tf.bitcast(self.bits(width), tf.int32)


def uniform_int(bound: int | tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
  """Returns int32 in [0, bound) from uint32 bits, without a division."""
  scaled = tf.cast(bits, tf.int64) * tf.cast(bound, tf.int64)
  return tf.cast(
    tf.bitwise.right_shift(scaled, tf.cast(32, tf.int64)), tf.int32
  )


def threshold(probability: float) -> tf.Tensor:
  """Returns the int64 that uint32 bits are below with this probability."""
  return tf.constant(round(probability * 2**32), tf.int64)
