"""Corruptions with masks for an encoder to fill in."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mlm_jax.batch import select
from mlm_jax.data.corruption.base import Corruption
from mlm_jax.data.corruption.primitives.masks import Targets, mask_targets
from mlm_jax.data.corruption.primitives.random import RowRandom
from mlm_jax.vocabulary import Vocabulary

if TYPE_CHECKING:
  from mlm_jax.config import CorruptionConfig

# Held-out rows are masked like this whatever the run trains on: losses at other
# rates are other numbers, and those of two runs could not be compared. All
# targets are shown as [MASK], because a token that is left unchanged gives
# itself away: only here does no model without context get under the entropy.
HELDOUT_MASKING = {"mask_rate": 0.15, "mask_share": 1.0, "random_share": 0.0}


class MaskFilling(Corruption):
  """Base class: a subclass says which tokens are masked.

  Attributes:
    heldout_kind: the corruption.kind of held-out rows. Runs on whole words or
      spans of them are evaluated on whole words: they never see a part of a
      word, and single tokens would make them look worse than token frequencies.
  """

  task = "fill_masks"
  fields = select(
    "input_ids", "target_positions", "target_ids", "target_weights"
  )
  supports_sentence_pairs = True
  heldout_kind: ClassVar[str] = "token_masking"

  def sample(
    self,
    rows_BL: np.ndarray,
    rate: float,
    vocab: Vocabulary,
    random: RowRandom,
  ) -> Targets:
    """Samples the tokens to mask, in P = num_hidden(L) slots."""
    raise NotImplementedError

  def num_masked(self, maskable_BL, rate):
    # A row without a target would teach nothing.
    any_B1 = maskable_BL.any(axis=1, keepdims=True)
    return np.maximum(super().num_masked(maskable_BL, rate), any_B1)

  def corrupt(self, rows_BL, rate, vocab, random):
    targets = self.sample(rows_BL, rate, vocab, random)
    return mask_targets(rows_BL, targets, self.keys, vocab, random)

  def num_targets(self, seq_len: int) -> int:
    # Rows that are not masked predict each of their tokens.
    return seq_len if self.keys.causal_row_share else self.num_hidden(seq_len)

  def heldout(self) -> CorruptionConfig:
    in_words = self.heldout_kind == "whole_words"
    return type(self.keys)(
      kind=self.heldout_kind,
      word_boundaries=self.keys.word_boundaries if in_words else "spaces",
      sentence_pairs=self.keys.sentence_pairs,
      next_token_share=self.keys.next_token_share,
      prefix_share=self.keys.prefix_share,
      **HELDOUT_MASKING,
    )

  def heldout_as_trained(self) -> CorruptionConfig | None:
    own = dataclasses.replace(self.keys, final_mask_rate=0.0)
    return None if own == self.heldout() else own

  def describe_heldout(self) -> str:
    keys = self.heldout()
    share = f"{keys.mask_rate:.0%} of tokens"
    return f"{keys.kind}, {share}, all shown as the mask token"
