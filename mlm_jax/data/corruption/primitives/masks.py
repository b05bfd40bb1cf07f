"""Masked language modelling: what is shown in the place of the targets."""

from mlm_jax.config import CorruptionConfig
from mlm_jax.data.corruption.choosing import Chosen
from mlm_jax.data.corruption.draws import Draws, below, threshold
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.vocabulary import Vocabulary


def mask(
  rows_BL: tf.Tensor,
  chosen: Chosen,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> dict[str, tf.Tensor]:
  """Returns the batch that asks for what was chosen (Devlin et al. 2019).

  Each target is shown as [MASK], as a random ordinary token, or unchanged.
  """
  positions_BP, is_target_BP, action_BP = chosen
  targets_BP = tf.gather(rows_BL, positions_BP, batch_dims=1)
  shown_BP = show(targets_BP, action_BP, corruption, vocab, draws)
  shown_BP = tf.where(is_target_BP, shown_BP, targets_BP)
  batch = tf.shape(rows_BL)[0]
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


def show(
  targets_BP: tf.Tensor,
  action_BP: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> tf.Tensor:
  """Returns what is shown in the place of targets, decided by `action_BP`."""
  ordinary = vocab.is_ordinary.nonzero()[0].astype("int32")
  bits_BP = draws.bits(targets_BP.shape[1])
  random_BP = tf.gather(ordinary, below(len(ordinary), bits_BP))
  mask_below = threshold(corruption.mask_share)
  random_below = threshold(corruption.mask_share + corruption.random_share)
  action_BP = tf.cast(action_BP, tf.int64)
  return tf.where(
    action_BP < mask_below,
    vocab.mask_id,
    tf.where(action_BP < random_below, random_BP, targets_BP),
  )
