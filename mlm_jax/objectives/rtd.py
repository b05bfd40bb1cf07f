"""Replaced token detection (ELECTRA, Clark et al. 2020).

A small generator fills in the masks, and the encoder, as a discriminator,
predicts of each token whether it was replaced. The generator learns as a masked
language model alone: sampling from it has no gradient.
"""

import dataclasses
import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax.config import Config, EncoderConfig
from mlm_jax.errors import InputError, require
from mlm_jax.models import flops
from mlm_jax.models.composite import Discriminator, Electra, MaskedLM
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.objectives.base import (
  Batch,
  LossSums,
  Objective,
  Submodel,
  Term,
)
from mlm_jax.objectives.cross_entropy import (
  binary_cross_entropy,
  cross_entropy,
)
from mlm_jax.objectives.mlm import TARGET_FIELDS, predict
from mlm_jax.vocabulary import Vocabulary

# Rows of the vocabulary in a block, the first of two steps of sampling.
_BLOCK = 128

_BELOW_1 = np.float32(1 - 2**-20)


class ReplacedTokenDetection(Objective):
  """Predicts which tokens a generator, trained beside it, has replaced."""

  title = "replaced token detection"
  tasks = ("fill_masks",)
  token_term = "generator"
  supports = ("fill_mask", "export_hf")

  @classmethod
  def check(cls, config: Config) -> None:
    super().check(config)
    require(
      config.corruption.mask_share > 0,
      f"objective.name={config.objective.name!r} without masks would let the "
      "generator copy: corruption.mask_share must be positive",
    )
    generator_config(config)

  @functools.cached_property
  def model(self) -> nn.Module:
    generator = generator_config(self.config)
    return Electra(self.config.model, generator, self.vocab.size)

  @property
  def terms(self) -> Mapping[str, Term]:
    return {
      "rtd": Term(self.config.objective.rtd_weight, "replaced tokens"),
      "generator": Term(1.0, "generator"),
    }

  @classmethod
  def fields(cls, config: Config) -> tuple[str, ...]:
    return ("input_ids", *TARGET_FIELDS)

  def denominators(self, batch: Batch) -> dict[str, jax.Array]:
    # Padding is padding before and after the corruption.
    is_real_BL = batch["input_ids"] != self.vocab.pad_id
    return {
      "rtd": jnp.sum(is_real_BL, dtype=jnp.float32),
      "generator": jnp.sum(batch["target_weights"]),
    }

  def loss_sums(
    self, params, batch: Batch, key: jax.Array | None = None
  ) -> LossSums:
    vocab = self.vocab
    sample_key, generator_key, key = (
      (jax.random.key(0), None, None)
      if key is None
      else jax.random.split(key, 3)
    )
    submodels = self.submodels(params)
    generator, generator_params = submodels["generator"]
    # Sampling needs all of them.
    logits_BPV = predict(
      generator, vocab, generator_params, batch, generator_key
    ).logits_BPV
    targets_BP, weights_BP = batch["target_ids"], batch["target_weights"]
    keys_B = _row_keys(sample_key, batch["input_ids"])
    sampled_BP = sample(keys_B, jax.lax.stop_gradient(logits_BPV), vocab)
    shown_BP = jnp.where(weights_BP > 0, sampled_BP, targets_BP)
    rows_B1 = jnp.arange(len(shown_BP))[:, None]
    where = rows_B1, batch["target_positions"]
    masked_BL = jnp.asarray(batch["input_ids"])
    ids_BL = masked_BL.at[where].set(shown_BP)
    original_BL = masked_BL.at[where].set(targets_BP)

    segment_ids_BL, positions_BL = segments_and_positions(ids_BL, vocab)
    discriminator, discriminator_params = submodels["discriminator"]
    logits_BL = discriminator.apply(
      {"params": discriminator_params},
      ids_BL,
      segment_ids_BL,
      positions_BL,
      deterministic=key is None,
      rngs=None if key is None else {"dropout": key},
    )
    is_replaced_BL = ids_BL != original_BL
    is_real_BL = ids_BL != vocab.pad_id
    return {
      "rtd": binary_cross_entropy(logits_BL, is_replaced_BL, is_real_BL),
      "generator": cross_entropy(logits_BPV, targets_BP, weights_BP),
    }

  def forward_flops(self) -> float:
    config, length = self.config.model, self.config.data.seq_len
    return (
      flops.encoder(config, length)
      + flops.replaced_token_head(config, length)
      + flops.masked_lm(
        self.model.generator_config, length, self.num_targets, self.vocab.size
      )
    )

  @property
  def encoders(self) -> tuple[EncoderConfig, ...]:
    return self.config.model, self.model.generator_config

  def submodels(self, params) -> dict[str, Submodel]:
    def submodel(cls, config, name):
      # With the shared embeddings, each is a model of its own.
      encoder = {**params["embeddings"], **params[name]["encoder"]}
      module = cls(config, self.vocab.size)
      return module, {**params[name], "encoder": encoder}

    discriminator, generator = self.config.model, self.model.generator_config
    return {
      "discriminator": submodel(Discriminator, discriminator, "discriminator"),
      "generator": submodel(MaskedLM, generator, "generator"),
    }


def generator_config(config: Config) -> EncoderConfig:
  """Returns the generator: `objective.generator_share` of the encoder's sizes.

  Raises:
    InputError: no encoder has that shape.
  """
  model, share = config.model, config.objective.generator_share
  width = round(share * model.width)
  try:
    return dataclasses.replace(
      model,
      width=width,
      num_heads=max(1, round(share * model.num_heads)),
      # 0 would share no keys and values.
      num_kv_heads=model.num_kv_heads
      and max(1, round(share * model.num_kv_heads)),
      mlp_width=round(share * model.mlp_width),
      # The embeddings are the discriminator's.
      embedding_width=0 if width == model.table_width else model.table_width,
    )
  except InputError as error:
    raise InputError(
      f"objective.generator_share={share} makes no generator: {error}"
    ) from error


def _row_keys(key: jax.Array, ids_BL: jax.Array) -> jax.Array:
  """Returns a key for each row, which depends on the row, not on its batch."""
  odd_L = 2 * jnp.arange(ids_BL.shape[1], dtype=jnp.uint32) + 1
  sums_B = jnp.sum(ids_BL.astype(jnp.uint32) * odd_L, axis=1)
  return jax.vmap(jax.random.fold_in, (None, 0))(key, sums_B)


def sample(
  keys_B: jax.Array, logits_BPV: jax.Array, vocab: Vocabulary
) -> jax.Array:
  """Returns int32 [B, P], tokens sampled from the softmax, never special ones.

  One random number a sample, not one a logit: it selects a block of the
  vocabulary, and within that a token.
  """
  special = np.array(vocab.special_ids)
  logits_BPV = logits_BPV.at[..., special].set(-jnp.inf)
  highest_BP1 = jnp.max(logits_BPV, axis=-1, keepdims=True)
  shares_BPV = jnp.exp(logits_BPV - highest_BP1)
  shares_BPNK = shares_BPV.reshape(*shares_BPV.shape[:2], -1, _BLOCK)
  blocks_BPN = jnp.cumsum(jnp.sum(shares_BPNK, axis=-1), axis=-1)
  uniform = jax.vmap(lambda key: jax.random.uniform(key, highest_BP1.shape[1:]))
  threshold_BP1 = uniform(keys_B) * blocks_BPN[..., -1:]
  block_BP1 = jnp.sum(blocks_BPN <= threshold_BP1, axis=-1, keepdims=True)
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
  # Rounding may leave no sum above it: then the last token with a share.
  threshold_BP1 = jnp.minimum(
    threshold_BP1 - below_BP1, sums_BPK[..., -1:] * _BELOW_1
  )
  offset_BP = jnp.sum(sums_BPK <= threshold_BP1, axis=-1)
  return (block_BP1[..., 0] * _BLOCK + offset_BP).astype(jnp.int32)
