"""Masked language modelling (Devlin et al. 2019)."""

import jax
import jax.numpy as jnp

from mlm_jax.data.tokenizer import Vocabulary
from mlm_jax.models.heads import MaskedLM
from mlm_jax.models.layout import segments_and_positions


def sums(
  model: MaskedLM,
  vocab: Vocabulary,
  params,
  batch: dict[str, jax.Array],
  dropout_key: jax.Array | None = None,
) -> dict[str, jax.Array]:
  """Returns the loss over a batch's targets as sums, to be divided once.

  Args:
    model: the encoder with its head.
    vocab: the start and pad ids.
    params: the model's parameters.
    batch: what `data.corruption` makes.
    dropout_key: turns dropout on.

  Returns:
    Scalars: `loss`, the cross entropy in nats, and `accuracy`, the right
    predictions, both summed over the targets; `weight`, how many those are.
  """
  ids_BL = batch["input_ids"]
  segment_ids_BL, positions_BL = segments_and_positions(
    ids_BL, start_id=vocab.start_id, pad_id=vocab.pad_id
  )
  logits_BPV = model.apply(
    {"params": params},
    ids_BL,
    segment_ids_BL,
    positions_BL,
    batch["target_positions"],
    deterministic=dropout_key is None,
    rngs=None if dropout_key is None else {"dropout": dropout_key},
  )
  targets_BP, weights_BP = batch["target_ids"], batch["target_weights"]
  # The gradient of a gather would be a scatter into all logits.
  is_target_BPV = jnp.arange(logits_BPV.shape[-1]) == targets_BP[..., None]
  target_logits_BP = jnp.sum(logits_BPV, axis=-1, where=is_target_BPV)
  loss_BP = jax.nn.logsumexp(logits_BPV, axis=-1) - target_logits_BP
  # The loss needs the maximum anyway; an argmax costs several times as much.
  right_BP = target_logits_BP >= jnp.max(logits_BPV, axis=-1)
  return {
    "loss": jnp.sum(loss_BP * weights_BP),
    "accuracy": jnp.sum(right_BP * weights_BP),
    "weight": jnp.sum(weights_BP),
  }
