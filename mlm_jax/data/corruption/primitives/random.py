"""Random numbers that depend on the seed and a row's place, and nothing else."""

from mlm_jax.data.host_tensorflow import tf

_PHILOX = 1


class Draws:
  """Random numbers for the rows of a batch.

  Philox is counter-based, four numbers a count: a row owns the counts from
  `place * counts_per_row` on, so one call serves any stretch of the stream. Each
  call is a stream of its own.

  Args:
    seed: chooses among all streams.
    first_position: int64 scalar, the place of the first row.
    batch: how many rows.
    first_call: the number of the first stream.
  """

  def __init__(
    self,
    seed: int,
    first_position: tf.Tensor,
    batch: tf.Tensor,
    first_call: int = 0,
  ):
    self._seed, self._first, self._batch = seed, first_position, batch
    self._calls = first_call

  def bits(self, width: int) -> tf.Tensor:
    """Returns uint32 [batch, width]."""
    counts_per_row = -(-width // 4)
    bits = tf.raw_ops.StatelessRandomUniformFullIntV2(
      shape=[self._batch, 4 * counts_per_row],
      key=tf.constant([self._seed], tf.uint64),
      counter=tf.stack(
        [
          tf.cast(self._first * counts_per_row, tf.uint64),
          tf.constant(self._calls, tf.uint64),
        ]
      ),
      alg=_PHILOX,
      dtype=tf.uint32,
    )
    self._calls += 1
    return bits[:, :width]

  def order(self, width: int) -> tf.Tensor:
    """Returns int32 [batch, width], numbers to sort by."""
    return tf.bitcast(self.bits(width), tf.int32)


def below(bound: int | tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
  """Returns int32 in [0, bound) from uint32 bits, without a division."""
  scaled = tf.cast(bits, tf.int64) * tf.cast(bound, tf.int64)
  return tf.cast(
    tf.bitwise.right_shift(scaled, tf.cast(32, tf.int64)), tf.int32
  )


def threshold(probability: float) -> tf.Tensor:
  """Returns the int64 that bits are under with this probability."""
  return tf.constant(round(probability * 2**32), tf.int64)
