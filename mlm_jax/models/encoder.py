"""The encoder: corrupted ids to contextual vectors."""

import flax.linen as nn
import jax

from mlm_jax.config import EncoderConfig
from mlm_jax.models.layers import (
  FeedForward,
  SelfAttention,
  compute_dtype,
  init_table,
  norm,
)


def padded_vocab_size(vocab_size: int) -> int:
  """Returns V: the vocabulary, rounded up to what matrix units like."""
  return -(-vocab_size // 128) * 128


class Block(nn.Module):
  """Attention and feed-forward, each with a residual sum and a norm."""

  config: EncoderConfig

  @nn.compact
  def __call__(self, x_BLD, segment_ids_BL, positions_BL, deterministic):
    config = self.config
    attend = SelfAttention(config, name="attention")
    feed = FeedForward(config, name="mlp")
    drop = nn.Dropout(config.dropout_rate, deterministic=deterministic)
    norm_a, norm_f = norm(config, name="norm_1"), norm(config, name="norm_2")
    if config.norm_placement == "pre":
      x_BLD += drop(attend(norm_a(x_BLD), segment_ids_BL, positions_BL))
      x_BLD += drop(feed(norm_f(x_BLD)))
    else:
      x_BLD = norm_a(x_BLD + drop(attend(x_BLD, segment_ids_BL, positions_BL)))
      x_BLD = norm_f(x_BLD + drop(feed(x_BLD)))
    return nn.with_logical_constraint(x_BLD, ("batch", "length", None))


class Encoder(nn.Module):
  """A bidirectional Transformer over packed rows (Devlin et al. 2019).

  A family of models is a set of `EncoderConfig` values, not a subclass.

  Attributes:
    config: its shape.
    vocab_size: the tokenizer's; the table has `padded_vocab_size` rows.
  """

  config: EncoderConfig
  vocab_size: int

  def setup(self):
    config = self.config
    self.token_table_VD = self.param(
      "token_embedding",
      init_table(config, ("vocab", "embed")),
      (padded_vocab_size(self.vocab_size), config.width),
    )
    if config.position_kind == "learned":
      self.position_table = self.param(
        "position_embedding",
        init_table(config, (None, "embed")),
        (config.max_positions, config.width),
      )
    if config.num_types:
      self.type_table = self.param(
        "type_embedding",
        init_table(config, (None, "embed")),
        (config.num_types, config.width),
      )
    self.embedding_norm = norm(config)
    self.dropout = nn.Dropout(config.dropout_rate)
    self.blocks = [Block(config) for _ in range(config.num_layers)]
    if config.norm_placement == "pre":
      self.final_norm = norm(config)

  def __call__(
    self,
    ids_BL: jax.Array,
    segment_ids_BL: jax.Array,
    positions_BL: jax.Array,
    type_ids_BL: jax.Array | None = None,
    *,
    deterministic: bool = True,
  ) -> jax.Array:
    """Returns the contextual vectors x_BLD.

    Args:
      ids_BL: the tokens, corrupted or not.
      segment_ids_BL: the document of each token, 0 for padding.
      positions_BL: the place of each token in its document.
      type_ids_BL: sentence A or B of each token; all A by default.
      deterministic: no dropout; otherwise an rng "dropout" is needed.
    """
    config = self.config
    x_BLD = self.token_table_VD[ids_BL]
    if config.position_kind == "learned":
      x_BLD += self.position_table[positions_BL]
    if config.num_types:
      types = 0 if type_ids_BL is None else type_ids_BL
      x_BLD += self.type_table[types]
    x_BLD = self.embedding_norm(x_BLD).astype(compute_dtype(config))
    x_BLD = self.dropout(x_BLD, deterministic=deterministic)
    x_BLD = nn.with_logical_constraint(x_BLD, ("batch", "length", None))
    for block in self.blocks:
      x_BLD = block(x_BLD, segment_ids_BL, positions_BL, deterministic)
    if config.norm_placement == "pre":
      x_BLD = self.final_norm(x_BLD)
    return x_BLD
