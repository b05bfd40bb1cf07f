"""A family of models, as a renaming.

It renames `EncoderConfig` keys to those of a config.json, and our modules to
the names of tensors. What a family has always is `fixed`; what its config.json
could say but ours could not is `assumed`, and refused where it says otherwise.
So a family can express a configuration exactly if going there and back gives
the same one.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mlm_jax.config import EncoderConfig
from mlm_jax.errors import InputError, require
from mlm_jax.models.encoder import FOR_TRAINING
from mlm_jax.vocabulary import Vocabulary

# Values that are called otherwise there. The last of equals is written.
_VALUES = {
  "activation": {
    **{"swish": "silu", "silu": "silu", "relu": "relu", "gelu": "gelu"},
    **{"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"},
  },
  "mlp_bias": {True: "all", False: "none"},
  "head_dense": {True: "bias", False: "no_bias"},
}

Values = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Family:
  """One kind of model.

  Attributes:
    model_type: what its config.json is recognised by.
    architecture: its class for masked language modelling.
    prefix: of the tensors of the encoder without a head.
    keys: our key -> the key in config.json.
    fixed: our keys that are not in config.json, where the default differs.
    defaults: what a key is that config.json lacks.
    assumed: keys of config.json that must have this value, or be absent.
    modules: our modules outside the blocks -> their names there.
    block: the name of a block, with {} for its number.
    block_modules: our modules in a block -> their names in it. Several names
      are the parts of a fused matmul.
    ignored: ends of names of tensors that masked language modelling has no
      use for: poolers, other heads, buffers.
    read: config.json -> our keys, where renaming is not enough.
    write: the inverse.
    padded_positions: does the position table begin with rows up to the padding
      token's id, which no real token uses? (fairseq's habit)
    position_offset: with how many such rows it begins in any case.
    decoder_block: the name of a decoder's block; "" where there is no decoder.
    decoder_modules: our modules in such a block -> their names in it.
    unscaled_queries: are scores not divided by the root of the head width?
  """

  model_type: str
  architecture: str
  prefix: str
  keys: Mapping[str, str]
  modules: Mapping[str, tuple[str, ...]]
  block: str
  block_modules: Mapping[str, tuple[str, ...]]
  fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  assumed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  ignored: tuple[str, ...] = ()
  read: Callable[[Values], Values] = lambda values: {}
  write: Callable[[EncoderConfig], Values] = lambda config: {}
  padded_positions: bool = False
  position_offset: int = 0
  decoder_block: str = ""
  decoder_modules: Mapping[str, tuple[str, ...]] = dataclasses.field(
    default_factory=dict
  )
  unscaled_queries: bool = False

  def unused_positions(self, pad_id: int) -> int:
    """Returns how many rows the position table begins with for nothing."""
    return pad_id + 1 if self.padded_positions else self.position_offset

  def read_config(self, values: Values) -> EncoderConfig:
    """Returns the encoder that a config.json describes.

    Raises:
      InputError: a key is missing, or has a value that we do not have.
    """
    try:
      # What is null is as good as absent.
      return self._read({k: v for k, v in values.items() if v is not None})
    except (TypeError, ValueError, AttributeError) as error:
      raise InputError(f"config.json makes no sense: {error}") from error

  def _read(self, values: Values) -> EncoderConfig:
    for key, expected in self.assumed.items():
      value = values.get(key, expected)
      require(
        value == expected,
        f"config.json has {key}={value!r}; only {expected!r} is known for "
        f"model_type={self.model_type!r}",
      )
    values = {**self.defaults, **values}
    # Their embeddings add a type's row to every token.
    require(
      values.get("type_vocab_size", 1) > 0, "config.json has type_vocab_size=0"
    )
    ours = dict(self.fixed)
    for key, theirs in self.keys.items():
      require(theirs in values, f"config.json lacks {theirs!r}")
      ours[key] = _read_value(key, theirs, values[theirs])
    ours |= self.read(values)
    if self.padded_positions:
      ours["max_positions"] -= self.unused_positions(values["pad_token_id"])
    # JSON writes 1e-05 and 10000 alike as they come.
    kinds = {f.name: f.type for f in dataclasses.fields(EncoderConfig)}
    return EncoderConfig(
      **{k: float(v) if kinds[k] is float else v for k, v in ours.items()}
    )

  def write_config(self, config: EncoderConfig, vocab: Vocabulary) -> Values:
    """Returns the config.json of an encoder that the family can express."""
    values = {
      "architectures": [self.architecture],
      "model_type": self.model_type,
      "vocab_size": vocab.size,
      **self.assumed,
    }
    for key, theirs in self.keys.items():
      values[theirs] = write_value(key, getattr(config, key))
    values |= self.write(config)
    if self.padded_positions:
      values["max_position_embeddings"] += self.unused_positions(vocab.pad_id)
    return values | {
      "pad_token_id": vocab.pad_id,
      "bos_token_id": vocab.start_id,
      "cls_token_id": vocab.start_id,
      "eos_token_id": vocab.end_id,
      **(
        {"decoder_start_token_id": vocab.start_id} if self.decoder_block else {}
      ),
      "sep_token_id": vocab.end_id,
      "mask_token_id": vocab.mask_id,
      "dtype": "float32",
      "torch_dtype": "float32",  # Before transformers 5.
    }

  def expresses(self, config: EncoderConfig, vocab: Vocabulary) -> bool:
    """Can a model of the family compute exactly what this encoder does?"""
    try:
      again = self.read_config(self.write_config(config, vocab))
    except InputError:
      return False
    same = {key: getattr(config, key) for key in FOR_TRAINING}
    return dataclasses.replace(again, **same) == config


def _read_value(key, theirs, value):
  if key not in _VALUES:
    return value
  known = _VALUES[key]
  require(
    value in known,
    f"config.json has {theirs}={value!r}; known: {', '.join(map(str, known))}",
  )
  return known[value]


def write_value(key, value):
  backwards = {ours: theirs for theirs, ours in _VALUES.get(key, {}).items()}
  if key not in _VALUES:
    return value
  require(value in backwards, f"{key}={value!r} has no counterpart")
  return backwards[value]
