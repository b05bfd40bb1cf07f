"""Every configuration key: declared, typed, explained and checked here, once.

A recipe in `configs/` starts from `default()`, a locked `ConfigDict` with the
values below, and sets only what differs. `build` turns the result into frozen
dataclasses, which the rest of the code reads; whatever is wrong with it is an
`InputError` of one line. The defaults are BERT-base as published (Devlin et
al. 2019), without next-sentence prediction.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Literal

import ml_collections

from mlm_jax.errors import InputError, require, unknown


def _check_types(group, prefix):
  for key, kind in typing.get_type_hints(type(group)).items():
    value = getattr(group, key)
    if typing.get_origin(kind) is Literal:
      if value not in typing.get_args(kind):
        raise unknown(f"{prefix}.{key}", value, typing.get_args(kind))
    elif type(value) is not kind and not (kind is float and type(value) is int):
      raise InputError(f"{prefix}.{key} must be {kind.__name__}, not {value!r}")


def _check_range(group, prefix, *, above_0=(), from_0=(), from_0_below_1=()):
  for keys, holds, words in (
    (above_0, lambda value: value > 0, "> 0"),
    (from_0, lambda value: value >= 0, "0 or more"),
    (from_0_below_1, lambda value: 0 <= value < 1, "in [0, 1)"),
  ):
    for key in keys:
      value = getattr(group, key)
      require(holds(value), f"{prefix}.{key} must be {words}, not {value}")


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
  """The shape of an encoder; a family of models is a set of these values."""

  num_layers: int = 12
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
  # Learned (BERT), rotary (Su et al. 2021), or linear in the distance, to both
  # sides (Press et al. 2022, as MosaicBERT has it).
  position_kind: Literal["learned", "rope", "alibi"] = "learned"
  # The longest document piece that the positions can tell apart.
  max_positions: int = 512
  rope_theta: float = 10_000.0
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
  # After the embeddings and after each sub-layer, before the residual sum.
  # Attention probabilities have none, as fused kernels lack it.
  embedding_dropout: float = 0.1
  attention_dropout: float = 0.1
  mlp_dropout: float = 0.1
  init_stddev: float = 0.02
  # Divides init_stddev by sqrt(2 num_layers) where a sub-layer adds to the
  # residual stream (GPT-2, Megatron).
  scale_residual_init: bool = False
  # What activations and matmuls are computed in; "auto" is bfloat16 on
  # accelerators and float32 on CPU. Weights, norms and losses are float32.
  dtype: Literal["auto", "float32", "bfloat16"] = "auto"
  # The attention backend; "auto" picks by platform and shape.
  attention: Literal["auto", "dense"] = "auto"

  @property
  def head_width(self) -> int:
    return self.width // self.num_heads

  @property
  def kv_heads(self) -> int:
    return self.num_kv_heads or self.num_heads

  @property
  def table_width(self) -> int:
    return self.embedding_width or self.width

  @property
  def has_dropout(self) -> bool:
    rates = self.embedding_dropout, self.attention_dropout, self.mlp_dropout
    return any(rates)

  def is_local(self, layer: int) -> bool:
    return layer % self.global_every != 0

  def __post_init__(self):
    _check_types(self, "model")
    _check_range(
      *(self, "model"),
      above_0=(
        *("num_layers", "width", "num_heads", "mlp_width", "global_every"),
        *("max_positions", "norm_eps", "rope_theta", "local_rope_theta"),
        "init_stddev",
      ),
      from_0=("num_kv_heads", "embedding_width", "window", "num_types"),
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
      not (self.share_layers and self.window),
      "model.share_layers has one kind of layer: model.window must be 0",
    )
    require(
      self.head_dense != "none" or self.table_width == self.width,
      "model.head_dense='none' leaves nothing between model.width and "
      "model.embedding_width",
    )


@dataclasses.dataclass(frozen=True)
class DataConfig:
  # tfds:NAME[/CONFIG][:SPLIT], text:GLOB, jsonl:GLOB or parquet:GLOB; several
  # globs are separated by commas; files may end in .gz or .zst.
  corpus: str = ""
  # The field that holds the text, where examples have named fields.
  text_field: str = "text"
  # Where a document of a text file ends: at a blank line, at the end of the
  # file, or before a WikiText " = Title = " line.
  document_boundary: Literal["blank_line", "file", "wikitext"] = "blank_line"
  # The share of documents, picked by a hash of their text, never trained on.
  heldout_fraction: float = 0.01
  # "unigram" or "bpe" trains a SentencePiece model on the corpus; anything else
  # is the path of a .model or a tokenizer.json, or what was imported.
  tokenizer: str = "bpe"
  vocab_size: int = 30_522
  lowercase: bool = True
  # At most this much text, from the start of the corpus, trains the tokenizer.
  tokenizer_sample_mb: int = 100
  seq_len: int = 512
  # best_fit keeps documents whole where they fit, concat fills rows in order,
  # single puts one document piece in a row.
  packing: Literal["best_fit", "concat", "single"] = "best_fit"
  # Where prepared rows are kept, to share them between runs; empty is
  # WORKDIR/rows.
  rows_dir: str = ""
  # Where tensorflow-datasets keeps its data; empty is its own default.
  tfds_data_dir: str = ""

  def __post_init__(self):
    _check_types(self, "data")
    _check_range(
      *(self, "data"),
      above_0=("tokenizer_sample_mb",),
      from_0_below_1=("heldout_fraction",),
    )
    require(self.seq_len >= 8, "data.seq_len must be at least 8")
    require(
      self.vocab_size >= 300,
      f"data.vocab_size={self.vocab_size} is too small: 256 bytes and the "
      "special tokens alone take 261",
    )


@dataclasses.dataclass(frozen=True)
class CorruptionConfig:
  kind: Literal["token_masking"] = "token_masking"
  # The share of a row's maskable tokens that is predicted.
  mask_rate: float = 0.15
  # Of the predicted tokens: the share shown as [MASK], the share shown as a
  # random token; the rest is shown unchanged.
  mask_share: float = 0.8
  random_share: float = 0.1

  def __post_init__(self):
    _check_types(self, "corruption")
    require(
      0 < self.mask_rate < 1,
      f"corruption.mask_rate must be between 0 and 1, not {self.mask_rate}",
    )
    shares = (self.mask_share, self.random_share)
    require(
      min(shares) >= 0 and sum(shares) <= 1 + 1e-6,
      "corruption.mask_share and corruption.random_share must be 0 or more and "
      f"at most 1 together, not {shares[0]} and {shares[1]}",
    )

  def num_targets(self, seq_len: int) -> int:
    """Returns P, the target slots of a row: enough, and a multiple of 4."""
    return min(seq_len, 4 * math.ceil(self.mask_rate * seq_len / 4))


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
  name: Literal["mlm"] = "mlm"

  def __post_init__(self):
    _check_types(self, "objective")


@dataclasses.dataclass(frozen=True)
class OptimConfig:
  name: Literal["adamw"] = "adamw"
  peak_lr: float = 1e-4
  # Linear from 0 to the peak over warmup_steps, then to 0 at train.steps.
  warmup_steps: int = 10_000
  schedule: Literal["linear", "cosine"] = "linear"
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-6
  # Decoupled; not applied to norms and biases.
  weight_decay: float = 0.01
  # The largest global gradient norm; 0 does not clip.
  clip_norm: float = 1.0

  def __post_init__(self):
    _check_types(self, "optim")
    _check_range(
      *(self, "optim"),
      above_0=("peak_lr", "eps"),
      from_0=("warmup_steps", "weight_decay", "clip_norm"),
      from_0_below_1=("b1", "b2"),
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  steps: int = 1_000_000
  # Rows a step, over all devices and micro-batches.
  batch_size: int = 256
  # The step adds up the gradients of this many equal parts of the batch.
  microbatches: int = 1
  log_every: int = 100
  eval_every: int = 5_000
  # Held-out batches an evaluation; 0 is all of them.
  eval_batches: int = 0
  checkpoint_every: int = 5_000
  keep_last: int = 2
  # Also keep the checkpoints with the lowest held-out loss.
  keep_best: int = 1

  def __post_init__(self):
    _check_types(self, "train")
    _check_range(
      *(self, "train"),
      above_0=(
        *("steps", "batch_size", "microbatches", "log_every", "eval_every"),
        *("checkpoint_every", "keep_last"),
      ),
      from_0=("eval_batches", "keep_best"),
    )
    require(
      self.batch_size % self.microbatches == 0,
      f"train.batch_size={self.batch_size} does not divide into "
      f"train.microbatches={self.microbatches}",
    )


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  # Devices along each axis of the mesh; one of them may be -1, for the rest.
  data: int = -1  # splits the batch
  fsdp: int = 1  # splits the batch and the weights
  tensor: int = 1  # splits heads, MLP width and vocabulary

  def __post_init__(self):
    _check_types(self, "mesh")
    sizes = (self.data, self.fsdp, self.tensor)
    require(
      sizes.count(-1) <= 1 and all(s == -1 or s > 0 for s in sizes),
      f"mesh sizes must be positive, one of them -1 at most, not {sizes}",
    )


@dataclasses.dataclass(frozen=True)
class Config:
  """A run, wholly: equal configurations give equal batches and weights."""

  seed: int = 0
  model: EncoderConfig = EncoderConfig()
  data: DataConfig = DataConfig()
  corruption: CorruptionConfig = CorruptionConfig()
  objective: ObjectiveConfig = ObjectiveConfig()
  optim: OptimConfig = OptimConfig()
  train: TrainConfig = TrainConfig()
  mesh: MeshConfig = MeshConfig()

  def __post_init__(self):
    require(type(self.seed) is int, f"seed must be int, not {self.seed!r}")
    require(0 <= self.seed < 2**31, "seed must be in [0, 2**31)")
    require(
      self.data.seq_len <= self.model.max_positions,
      f"data.seq_len={self.data.seq_len} is over "
      f"model.max_positions={self.model.max_positions}",
    )
    require(
      self.optim.warmup_steps < self.train.steps,
      f"optim.warmup_steps={self.optim.warmup_steps} must be under "
      f"train.steps={self.train.steps}",
    )


def default() -> ml_collections.ConfigDict:
  """Returns the declared defaults as a locked `ConfigDict`."""
  return ml_collections.ConfigDict(dataclasses.asdict(Config())).lock()


def build(values) -> Config:
  """Returns the validated `Config` of a `ConfigDict` or nested dict.

  Raises:
    InputError: a key or a value that nobody knows, or a bad combination.
  """
  if isinstance(values, ml_collections.ConfigDict):
    values = values.to_dict()
  return _build(Config, values, prefix="")


def check_key(key: str) -> None:
  """Raises InputError for a dotted key that is not declared."""
  known = [
    f"{group.name}.{field.name}"
    for group in dataclasses.fields(Config)
    if dataclasses.is_dataclass(group.type)
    for field in dataclasses.fields(group.type)
  ]
  if key not in ["seed", *known]:
    raise unknown("configuration key", key, ["seed", *known])


def _build(cls, values, prefix):
  require(
    isinstance(values, Mapping),
    f"{prefix.rstrip('.') or 'a recipe'} must be a group of keys, not {values!r}",
  )
  types = typing.get_type_hints(cls)
  for key in values:
    if key not in types:
      raise unknown(
        "configuration key", prefix + key, [prefix + t for t in types]
      )
  return cls(
    **{
      key: _build(types[key], value, f"{prefix}{key}.")
      if dataclasses.is_dataclass(types[key])
      else value
      for key, value in values.items()
    }
  )
