"""Heads: contextual vectors to logits."""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from mlm_jax.config import EncoderConfig
from mlm_jax.models.layers import Dense, activation, init_table, norm

# The places in a span that are told apart, and the width of their embeddings
# (Joshi et al. 2020).
_SPAN_PLACES, _PLACE_WIDTH = 32, 200


class Scores(flax.struct.PyTreeNode):
  """Logits over the vocabulary, before they are multiplied out.

  Attributes:
    x_BPE: a vector for each target.
    table_VE: a vector for each token.
    bias_V: what each token's logits begin with.
    scale: of the products.
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
    as_scores: are they left to be multiplied out, as `Scores`?
  """

  config: EncoderConfig
  vocab_size: int
  as_scores: bool = False

  @nn.compact
  def __call__(self, x_BPD, table_VE):
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
    # The rows that pad the table are no tokens.
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
    scores = Scores(x_BPE, table_VE, bias_V, scale)
    return scores if self.as_scores else scores.logits_BPV


class SpanBoundaryHead(nn.Module):
  """A token of a span, from the two around the span and its place in it.

  The span boundary objective of Joshi et al. 2020: two layers, each with an
  activation and a norm, of which the second is a `MaskedLMHead`.

  Attributes:
    config, vocab_size, as_scores: as `MaskedLMHead` has them.
  """

  config: EncoderConfig
  vocab_size: int
  as_scores: bool = False

  @nn.compact
  def __call__(self, left_BPD, right_BPD, place_BP, table_VE):
    config = self.config
    init = init_table(config, (None, None))
    table = self.param("place", init, (_SPAN_PLACES, _PLACE_WIDTH))
    place_BP = jnp.minimum(place_BP, _SPAN_PLACES - 1)
    place_BPZ = table[place_BP].astype(left_BPD.dtype)
    x_BPZ = jnp.concatenate([left_BPD, right_BPD, place_BPZ], axis=-1)
    x_BPD = Dense(config, "Z->D", name="dense")(x_BPZ)
    x_BPD = norm(config, name="norm")(activation(config)(x_BPD))
    head = MaskedLMHead(config, self.vocab_size, self.as_scores, name="out")
    return head(x_BPD, table_VE)


class SentencePairHead(nn.Module):
  """A start token's vector to one logit: is the second sentence in its place?

  With BERT's pooler, a layer with tanh, before it (Devlin et al. 2019).
  """

  config: EncoderConfig

  @nn.compact
  def __call__(self, x_BD):
    pooler = Dense(self.config, "D->D", name="pooler")
    out = Dense(self.config, "D->1", name="out")
    return out(jnp.tanh(pooler(x_BD)))[..., 0].astype(jnp.float32)


class ReplacedTokenHead(nn.Module):
  """Vectors to one logit a token: was it replaced? (Clark et al. 2020)"""

  config: EncoderConfig

  @nn.compact
  def __call__(self, x_BLD):
    config = self.config
    x_BLD = Dense(config, "D->D", name="dense")(x_BLD)
    x_BLD = activation(config)(x_BLD)
    out = Dense(config, "D->1", name="out")
    return out(x_BLD)[..., 0].astype(jnp.float32)
