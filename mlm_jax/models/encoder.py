"""The encoder: corrupted ids to contextual vectors."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlm_jax.config import EncoderConfig
from mlm_jax.models.attention import ATTENTION_OUTPUT, AttentionMask
from mlm_jax.models.dropout import Dropout
from mlm_jax.models.layers import (
  CrossAttention,
  Dense,
  FeedForward,
  SelfAttention,
  compute_dtype,
  init_table,
  norm,
)
from mlm_jax.models.positions import relative_buckets

# What the forward pass of a block saves for the gradient, besides its input.
REMAT_POLICIES = {
  # The outputs of matmuls with weights, and of attention.
  "dots": jax.checkpoint_policies.save_from_both_policies(
    jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    jax.checkpoint_policies.save_only_these_names(ATTENTION_OUTPUT),
  ),
  "full": jax.checkpoint_policies.nothing_saveable,
}

# The norms' names in the tree of parameters: checkpoints and exports have them.
ATTENTION_NORM, MLP_NORM, CROSS_NORM = "norm_1", "norm_2", "norm_cross"


def padded_vocab_size(vocab_size: int) -> int:
  """Returns V, the vocabulary size rounded up to a multiple of 128."""
  return -(-vocab_size // 128) * 128


def skips_attention_norm(config: EncoderConfig, layer: int) -> bool:
  """Returns True for a layer whose input the embedding norm has normalized."""
  pre = config.norm_placement == "pre" and config.embedding_norm
  return pre and layer == 0 and not config.share_layers


class Block(nn.Module):
  """Attention and an MLP, each with a norm and a residual connection.

  Attributes:
    config: the encoder's.
    layer: the index of the layer.
    is_decoder: whether there is cross attention between the two.
  """

  config: EncoderConfig
  layer: int
  is_decoder: bool = False

  @nn.compact
  def __call__(
    self,
    x_BLD: jax.Array,
    positions_BL: jax.Array,
    mask: AttentionMask,
    deterministic: bool,
    encoded_BMD: jax.Array | None = None,
    cross_mask: AttentionMask | None = None,
  ) -> jax.Array:
    config = self.config
    is_local = config.is_local(self.layer)
    attention = SelfAttention(config, is_local, name="attention")
    attention_dropout = Dropout(config.attention_dropout)
    feed_forward = FeedForward(config, name="mlp")
    mlp = lambda x_BLD: feed_forward(x_BLD, deterministic)
    mlp_norm = norm(config, name=MLP_NORM)
    mlp_dropout = Dropout(0.0 if config.glu else config.mlp_dropout)
    if skips_attention_norm(config, self.layer):
      attention_norm = lambda x_BLD: x_BLD
    else:
      attention_norm = norm(config, name=ATTENTION_NORM)

    def residual(x_BLD, sublayer, normalize, dropout):
      if config.norm_placement == "pre":
        return x_BLD + dropout(sublayer(normalize(x_BLD)), deterministic)
      return normalize(x_BLD + dropout(sublayer(x_BLD), deterministic))

    attend = lambda x_BLD: attention(x_BLD, positions_BL, mask)
    x_BLD = residual(x_BLD, attend, attention_norm, attention_dropout)
    if self.is_decoder:
      cross = CrossAttention(config, name="cross")
      cross_norm = norm(config, name=CROSS_NORM)
      attend = lambda x_BLD: cross(x_BLD, encoded_BMD, cross_mask)
      x_BLD = residual(x_BLD, attend, cross_norm, attention_dropout)
    x_BLD = residual(x_BLD, mlp, mlp_norm, mlp_dropout)
    return nn.with_logical_constraint(x_BLD, ("batch", "length", None))


class Embeddings(nn.Module):
  """Ids to vectors: the sum of the tables' rows, normalized.

  Attributes:
    config: the encoder's.
    vocab_size: the tokenizer's; the table has `padded_vocab_size` rows.
    has_tokens: whether it has tables of tokens and types; otherwise the token
      table is an argument.
  """

  config: EncoderConfig
  vocab_size: int
  has_tokens: bool = True

  def setup(self):
    config = self.config
    table = lambda name, axis, rows: self.param(
      name,
      init_table(config, (axis, "embed")),
      (rows, config.table_width),
    )
    if self.has_tokens:
      self.token_table_VE = table(
        "token_embedding", "vocab", padded_vocab_size(self.vocab_size)
      )
    if config.position_kind == "learned":
      self.position_table = table(
        "position_embedding", None, config.max_positions
      )
    if config.num_types and self.has_tokens:
      self.type_table = table("type_embedding", None, config.num_types)
    if config.embedding_norm:
      self.embedding_norm = norm(config)

  def __call__(
    self,
    ids_BL: jax.Array,
    positions_BL: jax.Array,
    type_ids_BL: jax.Array | None = None,
    table_VE: jax.Array | None = None,
  ) -> jax.Array:
    config = self.config
    x_BLE = (self.token_table_VE if self.has_tokens else table_VE)[ids_BL]
    if config.position_kind == "learned":
      x_BLE += self.position_table[positions_BL]
    if config.num_types and self.has_tokens:
      types = 0 if type_ids_BL is None else type_ids_BL
      x_BLE += self.type_table[types]
    if config.embedding_norm:
      x_BLE = self.embedding_norm(x_BLE)
    return x_BLE


class Stack(nn.Module):
  """The blocks, and the norm after the last.

  Attributes:
    config: the encoder's.
    num_layers: how many blocks.
    is_decoder: whether they are a decoder's.
  """

  config: EncoderConfig
  num_layers: int
  is_decoder: bool = False

  def setup(self):
    config = self.config
    num_blocks = 1 if config.share_layers else self.num_layers
    self.blocks = [
      Block(config, layer, self.is_decoder) for layer in range(num_blocks)
    ]
    if config.position_kind == "relative":
      self.relative_bias_UH = self.param(
        "relative_bias",
        init_table(config, (None, "heads"), config.width**-0.5),
        (config.relative_buckets, config.num_heads),
      )
    if config.norm_placement == "pre":
      self.final_norm = norm(config)

  def __call__(
    self,
    x_BLD: jax.Array,
    positions_BL: jax.Array,
    mask: AttentionMask,
    deterministic: bool,
    encoded_BMD: jax.Array | None = None,
    cross_mask: AttentionMask | None = None,
  ) -> jax.Array:
    """Returns the contextual vectors x_BLD.

    Args:
      x_BLD: the embeddings.
      positions_BL: the position of each token in its document, less than L.
      mask: of self attention.
      deterministic: no dropout.
      encoded_BMD: for a decoder, the encoder's output.
      cross_mask: for a decoder, the mask of cross attention.
    """
    if self.config.position_kind == "relative":
      bucket_LM = relative_buckets(self.config, x_BLD.shape[1], mask.causal)
      bias_LMH = self.relative_bias_UH[bucket_LM]
      mask = dataclasses.replace(mask, bias_HLM=bias_LMH.transpose(2, 0, 1))
    call = lambda block, x_BLD: block(
      x_BLD, positions_BL, mask, deterministic, encoded_BMD, cross_mask
    )
    apply = call
    if self.config.remat != "none":
      apply = nn.remat(call, policy=REMAT_POLICIES[self.config.remat])
    scanned = self._scanned_layers()
    for layer in range(scanned.start):
      x_BLD = apply(self._block(layer), x_BLD)
    if scanned:
      x_BLD = self._scan(x_BLD, scanned, call, deterministic)
    for layer in range(scanned.stop, self.num_layers):
      x_BLD = apply(self._block(layer), x_BLD)
    if self.config.norm_placement == "pre":
      x_BLD = self.final_norm(x_BLD)
    return x_BLD

  def _block(self, layer):
    return self.blocks[layer % len(self.blocks)]

  def _scanned_layers(self) -> range:
    """Returns the first layer of each period that is scanned over."""
    config = self.config
    if not config.scan_layers or self.is_initializing():
      return range(0)
    # A period has one global layer. The very first layer may lack a norm.
    period = config.global_every
    first = period if skips_attention_norm(config, 0) else 0
    num_periods = max(0, self.num_layers - first) // period
    return range(first, first + num_periods * period, period)

  def _scan(self, x_BLD, scanned, call, deterministic):
    """Scans over periods of layers with `call`, which is compiled once.

    The parameters are stacked here and not in the tree of parameters, which is
    the same with and without scanning.
    """
    key = None if deterministic else self.make_rng("dropout")
    offsets = range(scanned.step)
    blocks = [
      self._block(scanned.start + i).clone(parent=None) for i in offsets
    ]
    params = [
      jax.tree.map(
        lambda *layers: jnp.stack(layers),
        *[self._block(first + i).variables["params"] for first in scanned],
      )
      for i in offsets
    ]

    def run_period(x_BLD, period):
      first, params = period
      for i, block in enumerate(blocks):
        rngs = {}
        if not deterministic:
          rngs = {"dropout": jax.random.fold_in(key, first + i)}
        run_block = nn.apply(call, block)
        x_BLD = run_block({"params": params[i]}, x_BLD, rngs=rngs)
      return x_BLD, None

    if self.config.remat != "none":
      # The body of a loop is compiled by itself, so no other use of the forward
      # pass can be merged with the recomputation.
      policy = REMAT_POLICIES[self.config.remat]
      run_period = jax.checkpoint(run_period, policy=policy, prevent_cse=False)
    return jax.lax.scan(run_period, x_BLD, (jnp.array(scanned), params))[0]


class Encoder(nn.Module):
  """A Transformer over packed rows, bidirectional by default (Devlin et al.
  2019).

  A family of models is a set of `EncoderConfig` values, not a subclass.

  Attributes:
    config: its shape.
    vocab_size: the tokenizer's.
    shared: another encoder's embeddings, of the same table width, to use in
      place of its own.
  """

  config: EncoderConfig
  vocab_size: int
  shared: Embeddings | None = None

  def setup(self):
    config = self.config
    self.embeddings = self.shared
    if self.shared is None:
      self.embeddings = Embeddings(config, self.vocab_size)
      # Their parameters belong to the encoder's own scope.
      nn.share_scope(self, self.embeddings)
    if config.embedding_width:
      self.embedding_projection = Dense(config, "E->D")
    self.dropout = Dropout(config.embedding_dropout)
    self.stack = Stack(config, config.num_layers)
    nn.share_scope(self, self.stack)

  def __call__(
    self,
    ids_BL: jax.Array,
    segment_ids_BL: jax.Array,
    positions_BL: jax.Array,
    type_ids_BL: jax.Array | None = None,
    *,
    causal: bool = False,
    prefix_BL: jax.Array | None = None,
    deterministic: bool = True,
  ) -> jax.Array:
    """Returns the contextual vectors x_BLD.

    Args:
      ids_BL: the tokens, corrupted or not.
      segment_ids_BL: the document of each token, 0 for padding.
      positions_BL: the position of each token in its document, less than L.
      type_ids_BL: the type of each token (sentence A or B); 0 by default.
      causal: no token attends to later ones.
      prefix_BL: nonzero for tokens that all others of their document attend to,
        even with `causal`.
      deterministic: no dropout; otherwise an rng "dropout" is needed.
    """
    config = self.config
    x_BLE = self.embeddings(ids_BL, positions_BL, type_ids_BL)
    x_BLD = self.dropout(x_BLE.astype(compute_dtype(config)), deterministic)
    if config.embedding_width:
      x_BLD = self.embedding_projection(x_BLD)
    x_BLD = nn.with_logical_constraint(x_BLD, ("batch", "length", None))
    mask = AttentionMask(segment_ids_BL, causal=causal, prefix_BM=prefix_BL)
    return self.stack(x_BLD, positions_BL, mask, deterministic)
