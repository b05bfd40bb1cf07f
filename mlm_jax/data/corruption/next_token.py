"""The next token is predicted (GPT, Radford et al. 2018)."""

from __future__ import annotations

from mlm_jax.batch import select
from mlm_jax.data.corruption.base import Corruption
from mlm_jax.data.corruption.primitives.targets import next_tokens


class NextToken(Corruption):
  """Predicts each token of a document from those before it; masks nothing."""

  task = "predict_next"
  fields = select(
    "input_ids", "target_positions", "target_ids", "target_weights"
  )
  uses_masks_per_row = False
  is_causal = True

  def corrupt(self, rows_BL, rate, vocab, random):
    return next_tokens(rows_BL, vocab)

  def describe(self) -> str:
    return f"{self.keys.kind}, every token is predicted from those before it"
