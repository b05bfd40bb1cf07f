"""Causal and prefix language modelling, to compare with masking.

Radford et al. 2018; Raffel et al. 2020. The encoder is the same, with causal
attention past a prefix.
"""

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlm_jax.config import Config
from mlm_jax.data import corruption as corruption_lib
from mlm_jax.models import flops
from mlm_jax.models.composite import MaskedLM
from mlm_jax.models.heads import LazyLogits
from mlm_jax.objectives.base import Batch, LossSums, Objective, Term
from mlm_jax.objectives.cross_entropy import cross_entropy
from mlm_jax.objectives.mlm import TARGET_FIELDS, predict


class CausalLanguageModelling(Objective):
  """Predicts each token of a document from those before it."""

  title = "causal language modelling"
  tasks = ("predict_next",)
  shares_weights = True
  token_term = "causal_lm"

  @functools.cached_property
  def model(self) -> nn.Module:
    return MaskedLM(self.config.model, self.vocab.size)

  @property
  def terms(self) -> Mapping[str, Term]:
    return {"causal_lm": Term(1.0, "next tokens")}

  @classmethod
  def fields(cls, config: Config) -> tuple[str, ...]:
    is_causal = corruption_lib.bind(config.corruption).is_causal
    prefix = () if is_causal else ("prefix",)
    return ("input_ids", *TARGET_FIELDS, *prefix)

  @property
  def is_causal(self) -> bool:
    # For a prefix language model, a text to read is all prefix.
    return corruption_lib.bind(self.config.corruption).is_causal

  def denominators(self, batch: Batch) -> dict[str, jax.Array]:
    return {"causal_lm": jnp.sum(batch["target_weights"])}

  def loss_sums(
    self, params, batch: Batch, key: jax.Array | None = None
  ) -> LossSums:
    logits = self.logits(params, batch, key)
    targets = batch["target_ids"], batch["target_weights"]
    return {"causal_lm": cross_entropy(logits, *targets)}

  def logits(self, params, batch: Batch, key: jax.Array | None) -> LazyLogits:
    """Returns the logits at the targets; attention is causal past a prefix."""
    return predict(
      self.model,
      self.vocab,
      params,
      batch,
      key,
      causal=True,
      prefix_BL=batch.get("prefix"),
    )

  def forward_flops(self) -> float:
    return flops.masked_lm(
      self.config.model,
      self.config.data.seq_len,
      self.num_targets,
      self.vocab.size,
    )
