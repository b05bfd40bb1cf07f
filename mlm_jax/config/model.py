"""`model.*`: the encoder, and the decoder that may go with it."""

import dataclasses
from typing import Literal

from mlm_jax.config.checks import check_range, check_types
from mlm_jax.errors import require


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
  """The shape of an encoder; a family of models is a set of these values."""

  num_layers: int = 12
  # Of a decoder, whose blocks are the encoder's and read what it has made of a
  # text (Vaswani et al. 2017); 0 has none.
  num_decoder_layers: int = 0
  width: int = 768
  num_heads: int = 12
  # Heads that share keys and values (Ainslie et al. 2023); 0 shares none.
  num_kv_heads: int = 0
  mlp_width: int = 3072
  # Of the token, position and type tables, projected to `width` after them
  # (ALBERT); 0 is `width`, with no projection.
  embedding_width: int = 0
  # One block applied num_layers times (ALBERT).
  share_layers: bool = False
  activation: Literal["gelu", "gelu_tanh", "silu", "relu"] = "gelu"
  # GeGLU with gelu, SwiGLU with silu (Shazeer 2020), each half of mlp_width.
  glu: bool = False
  # LayerNorm, or RMSNorm (Zhang and Sennrich 2019), which has no bias.
  norm_kind: Literal["layer", "rms"] = "layer"
  # "post" normalises after each residual sum (BERT), "pre" before each
  # sub-layer, with one more norm after the last.
  norm_placement: Literal["post", "pre"] = "post"
  norm_eps: float = 1e-12
  # Normalises the embeddings. In "pre", the first attention needs no other.
  embedding_norm: bool = True
  attention_bias: bool = True
  # Which of the MLP's two matmuls have a bias; of a GLU MosaicBERT's "out".
  mlp_bias: Literal["all", "out", "none"] = "all"
  norm_bias: bool = True
  # Learned (BERT), rotary (Su et al. 2021), linear in the distance, to both
  # sides (Press et al. 2022, as MosaicBERT has it), or learned for distances
  # (Raffel et al. 2020).
  position_kind: Literal["learned", "rope", "alibi", "relative"] = "learned"
  # The longest document piece that the positions can tell apart.
  max_positions: int = 512
  rope_theta: float = 10_000.0
  # Of "relative": so many buckets, half of them for single distances, the rest
  # for ever larger ones; all from this one on share the last.
  relative_buckets: int = 32
  relative_distance: int = 128
  # Tokens that a local layer sees around each, half of them to either side;
  # every global_every-th layer from the first is global (ModernBERT). 0 and 1:
  # all layers are global.
  window: int = 0
  global_every: int = 1
  local_rope_theta: float = 10_000.0
  # Rows of the type-embedding table (BERT's sentence A and B); 0 has no table.
  num_types: int = 2
  # The layer before the logits (dense, activation, norm): with a bias on its
  # matmul, without, or no such layer.
  head_dense: Literal["bias", "no_bias", "none"] = "bias"
  # A bias on the logits; the token table as their matrix, or one of its own.
  head_bias: bool = True
  tie_embeddings: bool = True
  # Logits are divided by sqrt(width) (T5, whose token table begins at 1).
  scale_logits: bool = False
  # After the embeddings and after each sub-layer, before the residual sum.
  # Attention probabilities have none, as fused kernels lack it.
  embedding_dropout: float = 0.1
  attention_dropout: float = 0.1
  mlp_dropout: float = 0.1
  # The standard deviation of fresh weights; 0 is 1 for tables, and for matmuls 1
  # by the square root of their inputs (T5).
  init_stddev: float = 0.02
  # Divides init_stddev by sqrt(2 num_layers) where a sub-layer adds to the
  # residual stream (GPT-2, Megatron).
  scale_residual_init: bool = False
  # What activations and matmuls are computed in; "auto" is bfloat16 on
  # accelerators and float32 on CPU. Weights, norms and losses are float32.
  dtype: Literal["auto", "float32", "bfloat16"] = "auto"
  # The attention backend; "auto" picks by platform and shape.
  attention: Literal[
    *("auto", "dense", "local", "chunked", "splash", "cudnn", "tokamax")
  ] = "auto"
  # What a block keeps for the gradient: all that it needs; products with weights
  # and what attention has found; its input alone. The rest is computed again.
  remat: Literal["none", "dots", "full"] = "none"
  # Compiles a layer once and goes over all in a loop: sooner compiled, slower.
  scan_layers: bool = False

  @property
  def head_width(self) -> int:
    return self.width // self.num_heads

  @property
  def kv_heads(self) -> int:
    return self.num_kv_heads or self.num_heads

  @property
  def table_width(self) -> int:
    return self.embedding_width or self.width

  def is_local(self, layer: int) -> bool:
    return layer % self.global_every != 0

  def __post_init__(self):
    check_types(self, "model")
    check_range(
      *(self, "model"),
      above_0=(
        *("num_layers", "width", "num_heads", "mlp_width", "global_every"),
        *("max_positions", "norm_eps", "rope_theta", "local_rope_theta"),
        "relative_distance",
      ),
      from_0=(
        *("num_kv_heads", "embedding_width", "window", "num_types"),
        *("num_decoder_layers", "init_stddev"),
      ),
      from_0_below_1=("embedding_dropout", "attention_dropout", "mlp_dropout"),
    )
    require(
      self.width % self.num_heads == 0,
      f"model.width={self.width} does not divide into "
      f"model.num_heads={self.num_heads} heads",
    )
    require(
      self.num_heads % self.kv_heads == 0,
      f"model.num_heads={self.num_heads} does not divide into "
      f"model.num_kv_heads={self.num_kv_heads} groups",
    )
    require(
      self.position_kind != "rope" or self.head_width % 2 == 0,
      f"rotary positions need an even head width, not {self.head_width}",
    )
    require(
      (self.window == 0) == (self.global_every == 1) and self.window % 2 == 0,
      "model.window, an even number, and model.global_every > 1 belong "
      f"together, not {self.window} and {self.global_every}",
    )
    require(
      self.relative_buckets >= 4 and self.relative_buckets % 4 == 0,
      "model.relative_buckets must be a positive multiple of 4, not "
      f"{self.relative_buckets}",
    )
    require(
      self.relative_distance > self.relative_buckets // 2,
      f"model.relative_distance={self.relative_distance} must be over half of "
      f"model.relative_buckets={self.relative_buckets}",
    )
    require(
      not (self.num_decoder_layers and self.embedding_width),
      "a decoder has no projection of embeddings: model.embedding_width must be "
      "0 with model.num_decoder_layers",
    )
    require(
      not (self.share_layers and self.window),
      "model.share_layers has one kind of layer: model.window must be 0",
    )
    require(
      self.head_dense != "none" or self.table_width == self.width,
      "model.head_dense='none' leaves nothing between model.width and "
      "model.embedding_width",
    )
