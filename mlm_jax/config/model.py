"""`model.*`: the encoder, and the decoder that may go with it."""

import dataclasses
from typing import Literal

from mlm_jax.config.key import check_keys, key
from mlm_jax.errors import require


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
  """The shape of an encoder; a family of models is a set of these values."""

  # fmt: off
  num_layers: int = key(12,
    "Transformer layers of the encoder.",
    scope="weights", above=0, grown=True)
  num_decoder_layers: int = key(0,
    "Layers of the decoder, for sequence-to-sequence objectives. They attend "
    "to the encoder's output (Vaswani et al. 2017); 0 is no decoder.",
    scope="weights", at_least=0)
  width: int = key(768,
    "Width of the hidden states, the vectors between layers.",
    scope="weights", above=0, grown=True)
  num_heads: int = key(12,
    "Attention heads per layer. They divide width evenly.",
    scope="weights", above=0, grown=True)
  num_kv_heads: int = key(0,
    "Key and value heads per layer, for grouped-query attention. Each is "
    "shared by num_heads / num_kv_heads query heads (Ainslie et al. 2023); 0 "
    "is as many as num_heads.",
    scope="weights", at_least=0, grown=True)
  mlp_width: int = key(3072,
    "Width of the hidden layer of the MLP (feed-forward network).",
    scope="weights", above=0, grown=True)
  embedding_width: int = key(0,
    "Width of the embedding tables, where it is not width (ALBERT). Token, "
    "position and type embeddings are then projected to width; 0 is width, "
    "without a projection.",
    scope="weights", at_least=0, grown=True)
  share_layers: bool = key(False,
    "Apply one layer num_layers times, with shared weights (ALBERT).",
    scope="weights")
  activation: Literal["gelu", "gelu_tanh", "silu", "relu"] = key("gelu",
    "Activation function of the MLP and of the prediction head.",
    scope="function")
  glu: bool = key(False,
    "Use a gated linear unit in the MLP (Shazeer 2020). This is GeGLU with "
    "activation=gelu and SwiGLU with silu; gate and value are each mlp_width "
    "wide.",
    scope="weights")
  norm_kind: Literal["layer", "rms"] = key("layer",
    "Normalisation: LayerNorm or RMSNorm. RMSNorm (Zhang and Sennrich 2019) "
    "has no bias.",
    scope="weights")
  norm_placement: Literal["post", "pre"] = key("post",
    "Where layers are normalised. post normalises after each residual "
    "connection (BERT); pre normalises the input of each sub-layer, and once "
    "more after the last layer.",
    scope="weights")
  norm_eps: float = key(1e-12,
    "Epsilon that is added to the variance in norms.",
    scope="function", above=0)
  embedding_norm: bool = key(True,
    "Normalise the embeddings. With norm_placement=pre the first attention "
    "layer then has no norm of its own.",
    scope="weights")
  attention_bias: bool = key(True,
    "Biases in the query, key, value and output projections of attention.",
    scope="weights")
  mlp_bias: Literal["all", "out", "none"] = key("all",
    "Which matmuls of the MLP have a bias. out is the second one alone, as in "
    "MosaicBERT's GLU.",
    scope="weights")
  norm_bias: bool = key(True,
    "Biases in LayerNorm.",
    scope="weights")
  position_kind: Literal["learned", "rope", "alibi", "relative"] = key(
    "learned",
    "How positions enter the model. learned is an embedding table (BERT), rope "
    "is rotary embeddings (Su et al. 2021), alibi is a linear bias on the "
    "distance (Press et al. 2022, in both directions as in MosaicBERT) and "
    "relative is a learned bias per bucket of distances (Raffel et al. 2020).",
    scope="weights")
  max_positions: int = key(512,
    "Maximum length of a document in a row, in tokens. With "
    "position_kind=learned it is the number of rows of the position table.",
    scope=lambda model: (
      "weights" if model.position_kind == "learned" else "function"),
    above=0)
  rope_theta: float = key(10_000.0,
    "Base of the rotary position embeddings (RoPE) of global layers.",
    scope="function", above=0)
  relative_buckets: int = key(32,
    "Buckets of relative positions, for position_kind=relative. Half of them "
    "are for single distances, the rest for ever larger ranges.",
    scope="weights", at_least=4)
  relative_distance: int = key(128,
    "Distance from which on all relative positions share the last bucket.",
    scope="function", above=0)
  window: int = key(0,
    "Sliding-window size of local attention layers, in tokens. Half of it is "
    "on either side of the query; 0 makes all layers global.",
    scope="function", at_least=0)
  global_every: int = key(1,
    "Every how many layers one has global attention. The first layer is "
    "global (ModernBERT); 1 makes all layers global.",
    scope="function", above=0)
  local_rope_theta: float = key(10_000.0,
    "Base of the rotary position embeddings (RoPE) of local layers.",
    scope="function", above=0)
  num_types: int = key(2,
    "Rows of the token-type embedding table (BERT's segments A and B). 0 is no "
    "such table.",
    scope="weights", at_least=0)
  head_dense: Literal["bias", "no_bias", "none"] = key("bias",
    "Dense layer of the prediction head, with or without a bias. It is "
    "followed by the activation and a norm, and then the logits; none leaves "
    "all three out.",
    scope="weights")
  head_bias: bool = key(True,
    "A bias on the logits, one per token of the vocabulary.",
    scope="weights")
  tie_embeddings: bool = key(True,
    "Use the token embedding table as the output matrix.",
    scope="weights")
  scale_logits: bool = key(False,
    "Divide the logits by sqrt(width). T5 does, as its token embeddings are "
    "initialised with a standard deviation of 1.",
    scope="function")
  embedding_dropout: float = key(0.1,
    "Dropout rate after the embeddings.",
    scope="optimizer", at_least=0, below=1)
  attention_dropout: float = key(0.1,
    "Dropout rate of the attention output, before the residual connection. "
    "There is no dropout of attention probabilities, as fused kernels lack it.",
    scope="optimizer", at_least=0, below=1)
  mlp_dropout: float = key(0.1,
    "Dropout rate of the MLP output, before the residual connection. With glu, "
    "it is that of the hidden layer, before the second matmul (MosaicBERT).",
    scope="optimizer", at_least=0, below=1)
  init_stddev: float = key(0.02,
    "Standard deviation of the initial weights. 0 is T5's initialisation: 1 "
    "for embeddings and 1/sqrt(fan_in) for matmuls.",
    scope="initialisation", at_least=0)
  init_distribution: Literal["truncated_normal", "normal", "uniform"] = key(
    "truncated_normal",
    "Distribution of the initial weights. truncated_normal is cut at two "
    "init_stddev, which leaves 0.88 of it (BERT); the others have it exactly.",
    scope="initialisation")
  scale_residual_init: bool = key(False,
    "Scale down the initialisation of residual projections (GPT-2, Megatron). "
    "Their standard deviation is divided by sqrt(2 num_layers).",
    scope="initialisation")
  dtype: Literal["auto", "float32", "bfloat16"] = key("auto",
    "Dtype of activations and matmuls. auto is bfloat16 on accelerators and "
    "float32 on CPU; weights, norms and losses are float32 in any case.",
    scope="compute")
  attention: Literal[
    "auto", "dense", "local", "chunked", "splash", "cudnn", "tokamax"
  ] = key("auto",
    "Attention backend. auto chooses by platform and shape.",
    scope="compute")
  remat: Literal["none", "dots", "full"] = key("none",
    "Rematerialisation: what the backward pass recomputes to save memory. none "
    "recomputes nothing, dots all but matmuls with weights and the attention "
    "output, full everything within a layer.",
    scope="compute")
  scan_layers: bool = key(False,
    "Compile one layer and scan over all of them. Compilation is faster, the "
    "training step slower.",
    scope="compute")
  # fmt: on

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
    check_keys(self, "model.")
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
      self.relative_buckets % 4 == 0,
      "model.relative_buckets must be a multiple of 4, not "
      f"{self.relative_buckets}",
    )
    require(
      self.relative_distance > self.relative_buckets // 2,
      f"model.relative_distance={self.relative_distance} must be over half of "
      f"model.relative_buckets={self.relative_buckets}",
    )
    require(
      not (self.num_decoder_layers and self.embedding_width),
      "a decoder has no projection of embeddings: model.embedding_width must "
      "be 0 with model.num_decoder_layers",
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
