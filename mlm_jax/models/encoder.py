"""The encoder: corrupted ids to contextual vectors."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlm_jax.config import EncoderConfig
from mlm_jax.models.attention import ATTENDED
from mlm_jax.models.layers import (
  CrossAttention,
  Dense,
  Dropout,
  FeedForward,
  SelfAttention,
  compute_dtype,
  init_table,
  norm,
)
from mlm_jax.models.positions import relative_buckets

# What a block keeps of its forward pass for the gradient, beside its input.
_KEPT = {
  # The products with weights, and what attention has found.
  "dots": jax.checkpoint_policies.save_from_both_policies(
    jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    jax.checkpoint_policies.save_only_these_names(ATTENDED),
  ),
  "full": jax.checkpoint_policies.nothing_saveable,
}


def padded_vocab_size(vocab_size: int) -> int:
  """Returns V: the vocabulary, rounded up to what matrix units like."""
  return -(-vocab_size // 128) * 128


class Block(nn.Module):
  """Attention and feed-forward, each with a residual sum and a norm.

  Attributes:
    config: the encoder's.
    layer: the number of the layer, from 0.
    is_decoder: does it also attend to what an encoder has made?
  """

  config: EncoderConfig
  layer: int
  is_decoder: bool = False

  @nn.compact
  def __call__(self, x_BLD, positions_BL, seen, deterministic, encoded=None):
    config = self.config
    attention = SelfAttention(
      config, config.is_local(self.layer), name="attention"
    )
    attend = lambda x_BLD: attention(x_BLD, positions_BL, seen)
    feed = FeedForward(config, name="mlp")
    norm_f = norm(config, name="norm_2")
    if normalised_already(config, self.layer):
      norm_a = lambda x_BLD: x_BLD
    else:
      norm_a = norm(config, name="norm_1")
    drop_a = Dropout(config.attention_dropout)
    drop_f = Dropout(config.mlp_dropout)
    steps = [(attend, norm_a, drop_a), (feed, norm_f, drop_f)]
    if self.is_decoder:
      cross = CrossAttention(config, name="cross")
      norm_c = norm(config, name="norm_cross")
      steps.insert(1, (lambda x_BLD: cross(x_BLD, *encoded), norm_c, drop_a))
    for step, normalise, drop in steps:
      if config.norm_placement == "pre":
        x_BLD += drop(step(normalise(x_BLD)), deterministic)
      else:
        x_BLD = normalise(x_BLD + drop(step(x_BLD), deterministic))
    return nn.with_logical_constraint(x_BLD, ("batch", "length", None))


def normalised_already(config: EncoderConfig, layer: int) -> bool:
  """Does the layer's attention get what the embeddings' norm has normalised?"""
  pre = config.norm_placement == "pre" and config.embedding_norm
  return pre and layer == 0 and not config.share_layers


class Embeddings(nn.Module):
  """Ids to vectors: the sum of their tables' rows, normalised.

  Attributes:
    config: the encoder's.
    vocab_size: the tokenizer's; the table has `padded_vocab_size` rows.
    has_tokens: has it tables of tokens and types, or is it given the former?
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

  def __call__(self, ids_BL, positions_BL, type_ids_BL=None, table_VE=None):
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
    is_decoder: are they a decoder's?
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
      self.relative_bias_NH = self.param(
        "relative_bias",
        init_table(config, (None, "heads")),
        (config.relative_buckets, config.num_heads),
      )
    if config.norm_placement == "pre":
      self.final_norm = norm(config)

  def __call__(self, x_BLD, positions_BL, seen, deterministic, encoded=None):
    if self.config.position_kind == "relative":
      bucket_LM = relative_buckets(self.config, x_BLD.shape[1], seen["causal"])
      bias_LMH = self.relative_bias_NH[bucket_LM]
      seen = {**seen, "bias_HLM": bias_LMH.transpose(2, 0, 1)}
    how = positions_BL, seen, deterministic, encoded
    apply = lambda block, x_BLD: block(x_BLD, *how)
    if self.config.remat != "none":
      apply = nn.remat(apply, policy=_KEPT[self.config.remat])
    scanned = self._scanned()
    for layer in range(scanned.start):
      x_BLD = apply(self._block(layer), x_BLD)
    if scanned:
      x_BLD = self._scan(x_BLD, scanned, how)
    for layer in range(scanned.stop, self.num_layers):
      x_BLD = apply(self._block(layer), x_BLD)
    if self.config.norm_placement == "pre":
      x_BLD = self.final_norm(x_BLD)
    return x_BLD

  def _block(self, layer):
    return self.blocks[layer % len(self.blocks)]

  def _scanned(self) -> range:
    """Returns the first layers of equal turns, which one loop goes over."""
    config = self.config
    if not config.scan_layers or self.is_initializing():
      return range(0)
    # A turn has one global layer. The first layer may lack a norm.
    turn = config.global_every
    first = turn if normalised_already(config, 0) else 0
    turns = max(0, self.num_layers - first) // turn
    return range(first, first + turns * turn, turn)

  def _scan(self, x_BLD, scanned, how):
    """Goes over the turns in a loop, whose body is compiled once.

    The parameters are stacked for it here, and not where they are kept: the same
    tree serves both ways.
    """
    *_, deterministic, _ = how
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

    def turn(x_BLD, turn):
      first, params = turn
      for i, block in enumerate(blocks):
        rngs = {}
        if not deterministic:
          rngs = {"dropout": jax.random.fold_in(key, first + i)}
        x_BLD = block.apply({"params": params[i]}, x_BLD, *how, rngs=rngs)
      return x_BLD, None

    if self.config.remat != "none":
      # A loop's body is compiled by itself: nothing is there to be merged with.
      policy = _KEPT[self.config.remat]
      turn = jax.checkpoint(turn, policy=policy, prevent_cse=False)
    return jax.lax.scan(turn, x_BLD, (jnp.array(scanned), params))[0]


class Encoder(nn.Module):
  """A Transformer over packed rows, bidirectional unless told otherwise
  (Devlin et al. 2019).

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
      # Their parameters are the encoder's own.
      nn.share_scope(self, self.embeddings)
    if config.embedding_width:
      self.embedding_projection = Dense(
        config, (config.table_width, config.width), (None, "embed")
      )
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
      positions_BL: the place of each token in its document, under L.
      type_ids_BL: sentence A or B of each token; all A by default.
      causal: tokens see none after them.
      prefix_BL: where it is not 0, what comes before sees it nevertheless.
      deterministic: no dropout; otherwise an rng "dropout" is needed.
    """
    config = self.config
    x_BLE = self.embeddings(ids_BL, positions_BL, type_ids_BL)
    x_BLD = self.dropout(x_BLE.astype(compute_dtype(config)), deterministic)
    if config.embedding_width:
      x_BLD = self.embedding_projection(x_BLD)
    x_BLD = nn.with_logical_constraint(x_BLD, ("batch", "length", None))
    seen = {
      "segment_ids_BL": segment_ids_BL,
      "causal": causal,
      "prefix_BL": prefix_BL,
    }
    return self.stack(x_BLD, positions_BL, seen, deterministic)
