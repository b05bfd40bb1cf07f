"""Masked and causal language modelling, by the same weights, in one run.

Of a batch, some rows have masks and others are asked for what comes next, past a
prefix or from the first token on. So do UniLM (Dong et al. 2019), which masks in
all of them, and GPT-BERT (Charpentier and Samuel 2024), which asks for a masked
token one place before it; here, it is asked for in its place.
"""

import jax
import jax.numpy as jnp

from mlm_jax.config import Config
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
  """Returns the losses over both kinds of rows, as `Objective` has it."""
  # A row that is wholly a prefix is seen from both sides.
  told = mlm.tell(
    *(model, vocab, params, batch, key), causal=True, prefix_BL=batch["prefix"]
  )
  return {
    term: cross_entropy(told, batch["target_ids"], weights_BP)
    for term, weights_BP in _weights_by_term(batch, vocab).items()
  }


def _weights_by_term(batch, vocab):
  seen_BL = (batch["prefix"] > 0) | (batch["input_ids"] == vocab.pad_id)
  masked_B1 = jnp.all(seen_BL, axis=1, keepdims=True)
  return {
    "mlm": batch["target_weights"] * masked_B1,
    "causal_lm": batch["target_weights"] * ~masked_B1,
  }


def _terms(config: Config) -> dict[str, float]:
  share = config.corruption.causal_row_share
  return {"mlm": 1 - share, "causal_lm": share}


MIXTURE = Objective(
  tells="mlm",
  model=lambda config, vocab: MaskedLM(config.model, vocab.size),
  terms=_terms,
  weights=lambda batch, vocab: jax.tree.map(
    jnp.sum, _weights_by_term(batch, vocab)
  ),
  sums=sums,
  parts=mlm.MLM.parts,
)
