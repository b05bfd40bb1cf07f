"""Masked and causal language modelling by the same weights, in one run.

Some rows of a batch have masks; the others predict the next token, past a
prefix or from the first token on. UniLM (Dong et al. 2019) masks in all of its
rows, and GPT-BERT (Charpentier and Samuel 2024) predicts a masked token one
position before it; here, it is predicted at its own position.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from mlm_jax.config import Config
from mlm_jax.errors import require
from mlm_jax.objectives.base import Batch, LossSums, Term
from mlm_jax.objectives.causal_lm import CausalLanguageModelling
from mlm_jax.objectives.cross_entropy import token_losses, weighted_sums
from mlm_jax.objectives.mlm import TARGET_FIELDS


class Mixture(CausalLanguageModelling):
  """Masked language modelling on some rows, causal on the others.

  A row that is all prefix has bidirectional attention, and its targets masks.
  """

  title = "masked and causal language modelling"
  tasks = ("fill_masks",)
  token_term = "mlm"
  options = ("corruption.next_token_share", "corruption.prefix_share")
  supports = ("fill_mask", "export_hf")

  @classmethod
  def check(cls, config: Config) -> None:
    super().check(config)
    require(
      config.corruption.causal_row_share > 0,
      "objective.name='mixture' needs rows that predict the next token: "
      "corruption.next_token_share or corruption.prefix_share must be positive "
      "(without such rows it is objective.name='mlm')",
    )

  @property
  def terms(self) -> Mapping[str, Term]:
    share = self.config.corruption.causal_row_share
    return {
      "mlm": Term(1 - share, "masked tokens"),
      "causal_lm": Term(share, "next tokens"),
    }

  @classmethod
  def fields(cls, config: Config) -> tuple[str, ...]:
    return ("input_ids", *TARGET_FIELDS, "prefix")

  def denominators(self, batch: Batch) -> dict[str, jax.Array]:
    return jax.tree.map(jnp.sum, self._weights_by_term(batch))

  def loss_sums(
    self, params, batch: Batch, key: jax.Array | None = None
  ) -> LossSums:
    logits = self.logits(params, batch, key)
    # Once for both terms, or the head's backward pass would run twice.
    losses = token_losses(logits, batch["target_ids"])
    return {
      term: weighted_sums(*losses, weights_BP)
      for term, weights_BP in self._weights_by_term(batch).items()
    }

  def _weights_by_term(self, batch):
    is_pad_BL = batch["input_ids"] == self.vocab.pad_id
    is_prefix_BL = (batch["prefix"] > 0) | is_pad_BL
    has_masks_B1 = jnp.all(is_prefix_BL, axis=1, keepdims=True)
    return {
      "mlm": batch["target_weights"] * has_masks_B1,
      "causal_lm": batch["target_weights"] * ~has_masks_B1,
    }
