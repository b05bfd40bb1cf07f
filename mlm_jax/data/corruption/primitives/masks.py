"""Which tokens are masked, and what replaces them (Devlin et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mlm_jax.data.corruption.primitives.documents import Documents
from mlm_jax.data.corruption.primitives.random import (
  RowRandom,
  threshold,
  uniform_int,
)
from mlm_jax.data.corruption.primitives.row_ops import gather, mask_keys, top_k
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.vocabulary import Vocabulary

if TYPE_CHECKING:
  from mlm_jax.config import CorruptionConfig


class Targets(NamedTuple):
  """The targets of a batch, in P slots a row.

  Attributes:
    positions_BP: int32, their positions; targets come before empty slots.
    is_target_BP: bool, false for an empty slot.
    action_bits_BP: uint32, which decide what replaces each target.
  """

  positions_BP: tf.Tensor
  is_target_BP: tf.Tensor
  action_bits_BP: tf.Tensor


def sample_tokens(
  maskable_BL: tf.Tensor, count_B1: tf.Tensor, slots: int, random: RowRandom
) -> Targets:
  """Samples single tokens; all sets of `count_B1` tokens are equally likely."""
  keys_BL = mask_keys(maskable_BL, random.sort_keys(maskable_BL.shape[1]))
  positions_BP = top_k(keys_BL, slots)
  is_target_BP = tf.range(slots) < count_B1
  return Targets(positions_BP, is_target_BP, random.bits(slots))


def sample_uniform_rate(
  rows_BL: tf.Tensor, docs: Documents, vocab: Vocabulary, random: RowRandom
) -> tf.Tensor:
  """Samples from each document a number of tokens, 1 to all equally likely.

  (Ghazvininejad et al. 2019)

  Returns:
    bool [B, L], true for the sampled tokens.
  """
  # Where each token is sampled with the same probability, and that is uniform,
  # then so is their number, from none on; one more is sampled in any case.
  bits_BL = random.bits(rows_BL.shape[1])
  sampled_BL = bits_BL < docs.gather(docs.bits(random))
  one_BM = docs.begins_BM + uniform_int(docs.sizes_BM, docs.bits(random))
  sampled_BL |= tf.range(rows_BL.shape[1]) == docs.gather(one_BM)
  return sampled_BL & docs.inside_BL & tf.gather(vocab.is_ordinary, rows_BL)


def mask_targets(
  rows_BL: tf.Tensor,
  targets: Targets,
  keys: CorruptionConfig,
  vocab: Vocabulary,
  random: RowRandom,
) -> dict[str, tf.Tensor]:
  """Returns the batch that predicts the targets from what replaces them."""
  positions_BP, is_target_BP, action_bits_BP = targets
  targets_BP = gather(rows_BL, positions_BP)
  shown_BP = replace_tokens(targets_BP, action_bits_BP, keys, vocab, random)
  shown_BP = tf.where(is_target_BP, shown_BP, targets_BP)
  num_rows = tf.shape(rows_BL)[0]
  row_BP = tf.broadcast_to(tf.range(num_rows)[:, None], tf.shape(positions_BP))
  input_ids_BL = tf.tensor_scatter_nd_update(
    rows_BL, tf.stack([row_BP, positions_BP], axis=-1), shown_BP
  )
  return {
    "input_ids": input_ids_BL,
    "target_positions": positions_BP,
    "target_ids": targets_BP,
    "target_weights": tf.cast(is_target_BP, tf.float32),
  }


def replace_tokens(
  tokens_BP: tf.Tensor,
  action_bits_BP: tf.Tensor,
  keys: CorruptionConfig,
  vocab: Vocabulary,
  random: RowRandom,
) -> tf.Tensor:
  """Returns [MASK], a random ordinary token, or the token itself, for each.

  corruption.mask_share and corruption.random_share are their probabilities.
  """
  drawn = vocab.drawn_ids
  bits_BP = random.bits(tokens_BP.shape[1])
  random_BP = tf.gather(drawn, uniform_int(len(drawn), bits_BP))
  mask_below = threshold(keys.mask_share)
  random_below = threshold(keys.mask_share + keys.random_share)
  action_bits_BP = tf.cast(action_bits_BP, tf.int64)
  return tf.where(
    action_bits_BP < mask_below,
    vocab.mask_id,
    tf.where(action_bits_BP < random_below, random_BP, tokens_BP),
  )
