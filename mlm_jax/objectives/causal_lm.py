"""Predicting what comes next (Radford et al. 2018), to compare with masking.

The encoder is the same; what its tokens see is not. After a prefix that all of
the document sees, it is a prefix language model (Raffel et al. 2020).
"""

import jax
import jax.numpy as jnp

from mlm_jax.models.composite import MaskedLM
from mlm_jax.objectives import mlm
from mlm_jax.objectives.base import Batch, Objective, Sums
from mlm_jax.objectives.cross_entropy import cross_entropy
from mlm_jax.vocabulary import Vocabulary


def sums(
  model: MaskedLM,
  vocab: Vocabulary,
  params,
  batch: Batch,
  key: jax.Array | None = None,
) -> Sums:
  """Returns the loss over a batch's targets, as `Objective` has it."""
  told = mlm.tell(
    model,
    vocab,
    params,
    batch,
    key,
    causal=True,
    prefix_BL=batch.get("prefix"),
  )
  targets = batch["target_ids"], batch["target_weights"]
  return {"causal_lm": cross_entropy(told, *targets)}


CAUSAL_LM = Objective(
  tells="causal_lm",
  model=lambda config, vocab: MaskedLM(config.model, vocab.size),
  terms=lambda config: {"causal_lm": 1.0},
  weights=lambda batch, vocab: {"causal_lm": jnp.sum(batch["target_weights"])},
  sums=sums,
  parts=mlm.MLM.parts,
)
