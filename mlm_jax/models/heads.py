"""Heads, and the models that put one on the encoder."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlm_jax.config import EncoderConfig
from mlm_jax.models.encoder import Encoder
from mlm_jax.models.layers import Dense, activation, norm


class MaskedLMHead(nn.Module):
  """Vectors to logits over the vocabulary, through the embedding table."""

  config: EncoderConfig
  vocab_size: int

  @nn.compact
  def __call__(self, x_BPD, table_VD):
    config = self.config
    square = (config.width, config.width)
    x_BPD = Dense(config, square, ("embed", None), name="dense")(x_BPD)
    x_BPD = norm(config, name="norm")(activation(config)(x_BPD))
    bias_V = self.param(
      "bias",
      nn.with_logical_partitioning(nn.initializers.zeros_init(), ("vocab",)),
      table_VD.shape[:1],
    )
    logits_BPV = jnp.einsum(
      "BPD,VD->BPV",
      x_BPD,
      table_VD.astype(x_BPD.dtype),
      preferred_element_type=jnp.float32,
    )
    # The rows that pad the table are no tokens.
    real_V = jnp.arange(table_VD.shape[0]) < self.vocab_size
    return jnp.where(real_V, logits_BPV + bias_V, -jnp.inf)


class MaskedLM(nn.Module):
  """The encoder and the head that reconstructs the tokens at given places."""

  config: EncoderConfig
  vocab_size: int

  def setup(self):
    self.encoder = Encoder(self.config, self.vocab_size)
    self.head = MaskedLMHead(self.config, self.vocab_size)

  def __call__(
    self,
    ids_BL: jax.Array,
    segment_ids_BL: jax.Array,
    positions_BL: jax.Array,
    target_positions_BP: jax.Array,
    *,
    deterministic: bool = True,
  ) -> jax.Array:
    """Returns float32 logits [B, P, V] at the target positions only."""
    x_BLD = self.encoder(
      ids_BL, segment_ids_BL, positions_BL, deterministic=deterministic
    )
    x_BPD = jnp.take_along_axis(x_BLD, target_positions_BP[..., None], axis=1)
    return self.head(x_BPD, self.encoder.token_table_VD)
