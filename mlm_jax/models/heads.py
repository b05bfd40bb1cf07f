"""Heads: contextual vectors to logits."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from mlm_jax.config import EncoderConfig
from mlm_jax.models.layers import Dense, activation, init_table, norm

# Positions within a span that have an embedding of their own, and its width
# (Joshi et al. 2020).
_SPAN_POSITIONS, SPAN_POSITION_WIDTH = 32, 200


class LazyLogits(flax.struct.PyTreeNode):
  """Logits over the vocabulary, before the matmul that computes them.

  Where there are too many to keep, the loss computes them chunk by chunk.

  Attributes:
    x_BPE: the vector of each target.
    table_VE: the vector of each token.
    bias_V: float32, added to the products; -inf for rows that pad the table.
    scale: multiplies the products.
  """

  x_BPE: jax.Array
  table_VE: jax.Array
  bias_V: jax.Array
  scale: float = flax.struct.field(default=1.0, pytree_node=False)

  @property
  def logits_BPV(self) -> jax.Array:
    """The logits, float32."""
    logits_BPV = jnp.einsum(
      "BPE,VE->BPV",
      self.x_BPE,
      self.table_VE.astype(self.x_BPE.dtype),
      preferred_element_type=jnp.float32,
    )
    if self.scale != 1:
      logits_BPV *= self.scale
    return logits_BPV + self.bias_V


class MaskedLMHead(nn.Module):
  """Vectors to logits over the vocabulary.

  Attributes:
    config: the encoder's.
    vocab_size: the tokenizer's.
  """

  config: EncoderConfig
  vocab_size: int

  @nn.compact
  def __call__(self, x_BPD, table_VE) -> LazyLogits:
    config = self.config
    x_BPE = x_BPD
    if config.head_dense != "none":
      x_BPE = Dense(
        config, "D->E", use_bias=config.head_dense == "bias", name="dense"
      )(x_BPD)
      x_BPE = norm(config, name="norm")(activation(config)(x_BPE))
    if not config.tie_embeddings:
      init = init_table(config, ("vocab", "embed"))
      table_VE = self.param("table", init, table_VE.shape)
    # Rows that pad the table are never predicted.
    real_V = jnp.arange(table_VE.shape[0]) < self.vocab_size
    bias_V = jnp.where(real_V, 0.0, -jnp.inf)
    if config.head_bias:
      zeros = nn.initializers.zeros_init()
      bias_V += self.param(
        "bias",
        nn.with_logical_partitioning(zeros, ("vocab",)),
        table_VE.shape[:1],
      )
    scale = config.width**-0.5 if config.scale_logits else 1.0
    return LazyLogits(x_BPE, table_VE, bias_V, scale)


class SpanBoundaryHead(nn.Module):
  """Predicts a token from the two around its span and its position in it.

  The span boundary objective (Joshi et al. 2020): two layers, each with an
  activation and a norm, the second of which is a `MaskedLMHead`.

  Attributes:
    config: the encoder's.
    vocab_size: the tokenizer's.
  """

  config: EncoderConfig
  vocab_size: int

  @nn.compact
  def __call__(self, left_BPD, right_BPD, offset_BP, table_VE) -> LazyLogits:
    config = self.config
    init = init_table(config, (None, None))
    table = self.param("place", init, (_SPAN_POSITIONS, SPAN_POSITION_WIDTH))
    offset_BP = jnp.minimum(offset_BP, _SPAN_POSITIONS - 1)
    offset_BPZ = table[offset_BP].astype(left_BPD.dtype)
    x_BPZ = jnp.concatenate([left_BPD, right_BPD, offset_BPZ], axis=-1)
    x_BPD = Dense(config, "Z->D", name="dense")(x_BPZ)
    x_BPD = norm(config, name="norm")(activation(config)(x_BPD))
    head = MaskedLMHead(config, self.vocab_size, name="out")
    return head(x_BPD, table_VE)


class SentencePairHead(nn.Module):
  """Predicts from a row's first vector whether its sentences are in order.

  One logit, after BERT's pooler, a layer with tanh (Devlin et al. 2019).
  """

  config: EncoderConfig

  @nn.compact
  def __call__(self, x_BD):
    pooler = Dense(self.config, "D->D", name="pooler")
    out = Dense(self.config, "D->1", name="out")
    return out(jnp.tanh(pooler(x_BD)))[..., 0].astype(jnp.float32)


class ReplacedTokenHead(nn.Module):
  """Predicts for each token whether it was replaced (Clark et al. 2020)."""

  config: EncoderConfig

  @nn.compact
  def __call__(self, x_BLD):
    config = self.config
    x_BLD = Dense(config, "D->D", name="dense")(x_BLD)
    x_BLD = activation(config)(x_BLD)
    out = Dense(config, "D->1", name="out")
    return out(x_BLD)[..., 0].astype(jnp.float32)
