"""Corruptions: from rows to what the model sees and what it must say.

A corruption is one TF function of whole batches. Its randomness depends on the
seed and on each row's place in the stream of rows (which is its epoch and row,
under the shuffle), never on batch, worker or host: equal rows are corrupted
equally on every machine. Shapes are static: a row has `num_targets` slots, and
those past its last target weigh nothing.
"""

import numpy as np

from mlm_jax.config import CorruptionConfig
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.data.tokenizer import Vocabulary

_PHILOX = 1


def corrupt(
  rows_BL: tf.Tensor,
  first_position: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  seed: int,
) -> dict[str, tf.Tensor]:
  """Returns the batch that asks the model for what `corruption` hid.

  Args:
    rows_BL: int32 packed rows, consecutive in the stream.
    first_position: int64 scalar, the place of the first row in the stream.
    corruption: what to do.
    vocab: which ids are special.
    seed: chooses among the corruptions of the same stream.

  Returns:
    input_ids int32 [B, L]; target_positions and target_ids int32 [B, P];
    target_weights float32 [B, P], 1 for a target and 0 past the last.
  """
  return _CORRUPTIONS[corruption.kind](
    rows_BL, first_position, corruption, vocab, seed
  )


def mask_tokens(
  rows_BL: tf.Tensor,
  first_position: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  seed: int,
) -> dict[str, tf.Tensor]:
  """BERT's masking (Devlin et al. 2019), with any rate and split.

  Exactly round(mask_rate * maskable) tokens of a row are targets, uniformly
  chosen; each is shown as [MASK], as a random ordinary token, or unchanged.
  """
  batch, length = tf.shape(rows_BL)[0], rows_BL.shape[1]
  slots = corruption.num_targets(length)
  is_ordinary = np.ones(vocab.size, bool)
  is_ordinary[list(vocab.special_ids)] = False
  ordinary = np.flatnonzero(is_ordinary).astype(np.int32)
  bits = _random_bits(seed, first_position, batch, length + 2 * slots)
  order_BL, action_BP, draw_BP = tf.split(bits, [length, slots, slots], axis=1)

  # The largest random numbers among the maskable win.
  maskable_BL = tf.gather(is_ordinary, rows_BL)
  order_BL = tf.maximum(tf.bitcast(order_BL, tf.int32), tf.int32.min + 1)
  order_BL = tf.where(maskable_BL, order_BL, tf.int32.min)
  _, positions_BP = tf.math.top_k(order_BL, slots)
  maskable_B = tf.reduce_sum(tf.cast(maskable_BL, tf.float32), axis=1)
  count_B = tf.cast(tf.round(corruption.mask_rate * maskable_B), tf.int32)
  is_target_BP = tf.range(slots) < count_B[:, None]

  targets_BP = tf.gather(rows_BL, positions_BP, batch_dims=1)
  random_BP = tf.gather(ordinary, _uniform_int(draw_BP, len(ordinary)))
  mask_below = _threshold(corruption.mask_share)
  random_below = _threshold(corruption.mask_share + corruption.random_share)
  action_BP = tf.cast(action_BP, tf.int64)
  shown_BP = tf.where(
    action_BP < mask_below,
    vocab.mask_id,
    tf.where(action_BP < random_below, random_BP, targets_BP),
  )
  shown_BP = tf.where(is_target_BP, shown_BP, targets_BP)
  rows_BP = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(positions_BP))
  input_ids_BL = tf.tensor_scatter_nd_update(
    rows_BL, tf.stack([rows_BP, positions_BP], axis=-1), shown_BP
  )
  return {
    "input_ids": input_ids_BL,
    "target_positions": positions_BP,
    "target_ids": targets_BP,
    "target_weights": tf.cast(is_target_BP, tf.float32),
  }


_CORRUPTIONS = {"token_masking": mask_tokens}


def _random_bits(seed, first_position, batch, per_row):
  """Returns uint32 [batch, per_row]; row i draws by `first_position + i` alone.

  Philox is counter-based, four numbers a count: a row owns the counts from
  `position * per_row / 4` on, so one call serves any stretch of the stream.
  """
  per_row_counts = -(-per_row // 4)
  bits = tf.raw_ops.StatelessRandomUniformFullIntV2(
    shape=[batch, 4 * per_row_counts],
    key=tf.constant([seed], tf.uint64),
    counter=tf.stack(
      [
        tf.cast(first_position * per_row_counts, tf.uint64),
        tf.constant(0, tf.uint64),
      ]
    ),
    alg=_PHILOX,
    dtype=tf.uint32,
  )
  return bits[:, :per_row]


def _uniform_int(bits, bound):
  """Returns int32 in [0, bound) from uint32 bits, without a division."""
  scaled = tf.cast(bits, tf.int64) * bound
  return tf.cast(
    tf.bitwise.right_shift(scaled, tf.cast(32, tf.int64)), tf.int32
  )


def _threshold(probability):
  return tf.constant(round(probability * 2**32), tf.int64)
