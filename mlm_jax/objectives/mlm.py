"""Masked language modelling (Devlin et al. 2019)."""

import jax
import jax.numpy as jnp

from mlm_jax.data.tokenizer import Vocabulary
from mlm_jax.models.heads import MaskedLM
from mlm_jax.models.layout import segments_and_positions
from mlm_jax.objectives.objective import Batch, Objective, Sums


def logits(
  model: MaskedLM,
  vocab: Vocabulary,
  params,
  batch: Batch,
  dropout_key: jax.Array | None = None,
  **seen,
) -> jax.Array:
  """Returns float32 logits [B, P, V] at a batch's targets.

  Args:
    model: gives them.
    vocab: the start and pad ids.
    params: of the model.
    batch: what `data.corruption` makes.
    dropout_key: turns dropout on.
    **seen: what tokens see, as `Encoder` has it.
  """
  ids_BL = batch["input_ids"]
  segment_ids_BL, positions_BL = segments_and_positions(
    ids_BL, start_id=vocab.start_id, pad_id=vocab.pad_id
  )
  return model.apply(
    {"params": params},
    ids_BL,
    segment_ids_BL,
    positions_BL,
    batch["target_positions"],
    **seen,
    deterministic=dropout_key is None,
    rngs=None if dropout_key is None else {"dropout": dropout_key},
  )


def cross_entropy(
  logits_BPV: jax.Array, targets_BP: jax.Array, weights_BP: jax.Array
) -> dict[str, jax.Array]:
  """Returns the cross entropy in nats and the right predictions, as sums."""
  # The gradient of a gather would be a scatter into all logits.
  is_target_BPV = jnp.arange(logits_BPV.shape[-1]) == targets_BP[..., None]
  target_logits_BP = jnp.sum(logits_BPV, axis=-1, where=is_target_BPV)
  loss_BP = jax.nn.logsumexp(logits_BPV, axis=-1) - target_logits_BP
  # The loss needs the maximum anyway; an argmax costs several times as much.
  right_BP = target_logits_BP >= jnp.max(logits_BPV, axis=-1)
  return {
    "loss": jnp.sum(loss_BP * weights_BP),
    "accuracy": jnp.sum(right_BP * weights_BP),
  }


def sums(
  model: MaskedLM,
  vocab: Vocabulary,
  params,
  batch: Batch,
  key: jax.Array | None = None,
) -> Sums:
  """Returns the loss over a batch's targets, as `Objective` has it."""
  logits_BPV = logits(model, vocab, params, batch, key)
  targets = batch["target_ids"], batch["target_weights"]
  return {"mlm": cross_entropy(logits_BPV, *targets)}


MLM = Objective(
  model=lambda config, vocab: MaskedLM(config.model, vocab.size),
  terms=lambda config: {"mlm": 1.0},
  weights=lambda batch, vocab: {"mlm": jnp.sum(batch["target_weights"])},
  sums=sums,
  parts=lambda config, vocab, params: {
    "model": (MaskedLM(config.model, vocab.size), params)
  },
)
