"""Replaced token detection (ELECTRA, Clark et al. 2020).

A small generator fills in the masks, and the encoder tells of each token whether
it is the one that was there. The generator learns as a masked language model
alone: nobody can differentiate through what it says.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax.config import Config
from mlm_jax.models.composite import Discriminator, Electra, MaskedLM
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.objectives import mlm
from mlm_jax.objectives.base import Batch, Objective, Part, Sums
from mlm_jax.objectives.cross_entropy import (
  binary_cross_entropy,
  cross_entropy,
)
from mlm_jax.vocabulary import Vocabulary

# Rows of the vocabulary that are looked at together when a token is drawn.
_BLOCK = 128


def sums(
  model: Electra,
  vocab: Vocabulary,
  params,
  batch: Batch,
  key: jax.Array | None = None,
) -> Sums:
  """Returns the losses of both, as `Objective` has it."""
  sample_key, generator_key, key = (
    (jax.random.key(0), None, None) if key is None else jax.random.split(key, 3)
  )
  parts = _parts(model, params)
  generator, generator_params = parts["generator"]
  # All of them, to draw from.
  logits_BPV = mlm.tell(
    generator, vocab, generator_params, batch, generator_key
  ).logits_BPV
  targets_BP, weights_BP = batch["target_ids"], batch["target_weights"]
  keys_B = _keys(sample_key, batch["input_ids"])
  drawn_BP = sample(keys_B, jax.lax.stop_gradient(logits_BPV), vocab)
  shown_BP = jnp.where(weights_BP > 0, drawn_BP, targets_BP)
  rows_B1 = jnp.arange(len(shown_BP))[:, None]
  where = rows_B1, batch["target_positions"]
  masked_BL = jnp.asarray(batch["input_ids"])
  ids_BL = masked_BL.at[where].set(shown_BP)
  original_BL = masked_BL.at[where].set(targets_BP)

  segment_ids_BL, positions_BL = segments_and_positions(
    ids_BL, start_id=vocab.start_id, pad_id=vocab.pad_id
  )
  discriminator, discriminator_params = parts["discriminator"]
  logits_BL = discriminator.apply(
    {"params": discriminator_params},
    ids_BL,
    segment_ids_BL,
    positions_BL,
    deterministic=key is None,
    rngs=None if key is None else {"dropout": key},
  )
  is_replaced_BL = ids_BL != original_BL
  real_BL = ids_BL != vocab.pad_id
  return {
    "rtd": binary_cross_entropy(logits_BL, is_replaced_BL, real_BL),
    "generator": cross_entropy(logits_BPV, targets_BP, weights_BP),
  }


def _keys(key: jax.Array, ids_BL: jax.Array) -> jax.Array:
  """Returns a key a row, which depends on the row and not on its batch."""
  odd_L = 2 * jnp.arange(ids_BL.shape[1], dtype=jnp.uint32) + 1
  sums_B = jnp.sum(ids_BL.astype(jnp.uint32) * odd_L, axis=1)
  return jax.vmap(jax.random.fold_in, (None, 0))(key, sums_B)


def sample(
  keys_B: jax.Array, logits_BPV: jax.Array, vocab: Vocabulary
) -> jax.Array:
  """Returns int32 [B, P], ordinary tokens drawn from the softmax.

  One random number a draw, not one a logit: it falls into a block of the
  vocabulary, and within that onto a token.
  """
  special = np.array(vocab.special_ids)
  logits_BPV = logits_BPV.at[..., special].set(-jnp.inf)
  highest_BP1 = jnp.max(logits_BPV, axis=-1, keepdims=True)
  shares_BPV = jnp.exp(logits_BPV - highest_BP1)
  shares_BPNK = shares_BPV.reshape(*shares_BPV.shape[:2], -1, _BLOCK)
  blocks_BPN = jnp.cumsum(jnp.sum(shares_BPNK, axis=-1), axis=-1)
  uniform = jax.vmap(lambda key: jax.random.uniform(key, highest_BP1.shape[1:]))
  drawn_BP1 = uniform(keys_B) * blocks_BPN[..., -1:]
  block_BP1 = jnp.sum(blocks_BPN <= drawn_BP1, axis=-1, keepdims=True)
  block_BP1 = jnp.minimum(block_BP1, blocks_BPN.shape[-1] - 1)
  within_BPK = jnp.take_along_axis(
    shares_BPNK, block_BP1[..., None], axis=2
  ).squeeze(2)
  below_BP1 = jnp.where(
    block_BP1 > 0,
    jnp.take_along_axis(blocks_BPN, jnp.maximum(block_BP1 - 1, 0), axis=-1),
    0.0,
  )
  sums_BPK = jnp.cumsum(within_BPK, axis=-1)
  # Where rounding leaves nothing above the number, the last that has a share.
  drawn_BP1 = jnp.minimum(drawn_BP1 - below_BP1, sums_BPK[..., -1:] * _UNDER_1)
  place_BP = jnp.sum(sums_BPK <= drawn_BP1, axis=-1)
  return (block_BP1[..., 0] * _BLOCK + place_BP).astype(jnp.int32)


_UNDER_1 = np.float32(1 - 2**-20)


def _parts(model: Electra, params) -> dict[str, Part]:
  def part(cls, config, name):
    # As it would be without the other one.
    encoder = {**params["embeddings"], **params[name]["encoder"]}
    module = cls(config, model.vocab_size)
    return {name: (module, {**params[name], "encoder": encoder})}

  return {
    **part(Discriminator, model.config, "discriminator"),
    **part(MaskedLM, model.generator_config, "generator"),
  }


def _weights(batch, vocab):
  # Real tokens are so before and after the masking.
  real = jnp.sum(batch["input_ids"] != vocab.pad_id, dtype=jnp.float32)
  return {"rtd": real, "generator": jnp.sum(batch["target_weights"])}


def _model(config: Config, vocab: Vocabulary) -> Electra:
  return Electra(
    config.model, config.objective.generator(config.model), vocab.size
  )


RTD = Objective(
  tells="generator",
  model=_model,
  terms=lambda config: {
    "rtd": config.objective.rtd_weight,
    "generator": 1.0,
  },
  weights=_weights,
  sums=sums,
  parts=lambda config, vocab, params: _parts(_model(config, vocab), params),
)
