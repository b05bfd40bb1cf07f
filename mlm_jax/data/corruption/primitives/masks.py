"""Which tokens are masked, and what replaces them (Devlin et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlm_jax import batch as batch_lib
from mlm_jax.data.corruption.primitives.documents import Documents
from mlm_jax.data.corruption.primitives.random import (
  RowRandom,
  threshold,
  uniform_int,
)
from mlm_jax.data.corruption.primitives.row_ops import gather, mask_keys, top_k
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

  positions_BP: np.ndarray
  is_target_BP: np.ndarray
  action_bits_BP: np.ndarray


def sample_tokens(
  maskable_BL: np.ndarray, count_B1: np.ndarray, slots: int, random: RowRandom
) -> Targets:
  """Samples single tokens; all sets of `count_B1` tokens are equally likely."""
  keys_BL = mask_keys(maskable_BL, random.sort_keys(maskable_BL.shape[1]))
  positions_BP = top_k(keys_BL, slots)
  is_target_BP = np.arange(slots) < count_B1
  return Targets(positions_BP, is_target_BP, random.bits(slots))


def sample_uniform_rate(
  rows_BL: np.ndarray, docs: Documents, vocab: Vocabulary, random: RowRandom
) -> np.ndarray:
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
  sampled_BL |= np.arange(rows_BL.shape[1]) == docs.gather(one_BM)
  return sampled_BL & docs.inside_BL & np.take(vocab.is_ordinary, rows_BL)


def mask_targets(
  rows_BL: np.ndarray,
  targets: Targets,
  keys: CorruptionConfig,
  vocab: Vocabulary,
  random: RowRandom,
) -> dict[str, np.ndarray]:
  """Returns the batch that predicts the targets from what replaces them."""
  positions_BP, is_target_BP, action_bits_BP = targets
  targets_BP = gather(rows_BL, positions_BP)
  shown_BP = replace_tokens(targets_BP, action_bits_BP, keys, vocab, random)
  return batch_lib.masked(rows_BL, positions_BP, is_target_BP, shown_BP)


def replace_tokens(
  tokens_BP: np.ndarray,
  action_bits_BP: np.ndarray,
  keys: CorruptionConfig,
  vocab: Vocabulary,
  random: RowRandom,
) -> np.ndarray:
  """Returns [MASK], a random ordinary token, or the token itself, for each.

  corruption.mask_share and corruption.random_share are their probabilities.
  """
  drawn = vocab.drawn_ids
  bits_BP = random.bits(tokens_BP.shape[1])
  random_BP = np.take(drawn, uniform_int(len(drawn), bits_BP))
  mask_below = threshold(keys.mask_share)
  random_below = threshold(keys.mask_share + keys.random_share)
  return np.where(
    action_bits_BP < mask_below,
    vocab.mask_id,
    np.where(action_bits_BP < random_below, random_BP, tokens_BP),
  )
