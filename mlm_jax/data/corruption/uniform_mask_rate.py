"""A mask rate drawn uniformly for each document (Ghazvininejad et al. 2019)."""

from __future__ import annotations

import numpy as np

from mlm_jax.data.corruption.mask_filling import MaskFilling
from mlm_jax.data.corruption.primitives.documents import find_documents
from mlm_jax.data.corruption.primitives.masks import (
  Targets,
  sample_uniform_rate,
)
from mlm_jax.data.corruption.primitives.row_ops import count, true_positions


class UniformMaskRate(MaskFilling):
  """Masks any number of a document's tokens, all numbers equally likely."""

  uses_masks_per_row = False
  # A pair has two ends, a document one.
  supports_sentence_pairs = False

  def num_hidden(self, seq_len: int) -> int:
    return seq_len

  def sample(self, rows_BL, rate, vocab, random):
    length = rows_BL.shape[1]
    docs = find_documents(rows_BL, vocab)
    masked_BL = sample_uniform_rate(rows_BL, docs, vocab, random)
    positions_BP = true_positions(masked_BL, length)
    is_target_BP = np.arange(length) < count(masked_BL)
    return Targets(positions_BP, is_target_BP, random.bits(length))

  def describe(self) -> str:
    return f"{self.keys.kind}, any number of tokens"
