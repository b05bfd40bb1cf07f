"""A Hugging Face model family, as a mapping of names.

A `Family` maps `EncoderConfig` keys to keys of config.json, and our modules to
tensor names. Keys of ours with one value in the whole family are `fixed`, by
the values in `mlm_jax.families`. Keys of config.json that our models do not
support are `assumed` to have one value; another value is an error. A family
expresses a config exactly if writing it and reading it back gives the same
config.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mlm_jax import config as config_lib
from mlm_jax.config import EncoderConfig
from mlm_jax.errors import InputError, require
from mlm_jax.vocabulary import Vocabulary

# Key -> {value in config.json: our value}. If several values map to one of
# ours, the last is written.
_VALUES = {
  "activation": {
    "swish": "silu",
    "silu": "silu",
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
  },
  "mlp_bias": {True: "all", False: "none"},
  "head_dense": {True: "bias", False: "no_bias"},
}

Values = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Family:
  """The names of one model family.

  Attributes:
    model_type: its name in config.json.
    architecture: the transformers class to export to.
    prefix: of the encoder's tensor names in a model with a head.
    keys: our key -> its key in config.json.
    fixed: the family's values of our keys; those that config.json has are read
      from it.
    defaults: values of keys that may be absent from config.json.
    assumed: keys of config.json that must have this value, or be absent.
    modules: our module outside the blocks -> its names.
    block: the name of a block, with {} for its number.
    block_modules: our module in a block -> its names in the block; a fused
      matmul of ours may have several.
    ignored: suffixes of tensors that are not imported: poolers, other heads,
      buffers.
    read: config.json -> our keys, where renaming is not enough.
    write: our config -> keys of config.json, the inverse of `read`.
    padded_positions: whether the position table starts with unused rows up to
      and including the padding token's id, as in fairseq.
    position_offset: the number of unused rows at the start of the position
      table, independent of the padding token.
    decoder_block: the name of a decoder block; "" without a decoder.
    decoder_modules: our module in a decoder block -> its names in the block.
    unscaled_queries: whether attention scores are not divided by the square
      root of the head width, as in T5.
    older_prefix: the prefix before transformers had the family; "" if none.
    older_spelling: whether these keys of config.json are of the time before.
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
  older_prefix: str = ""
  older_spelling: bool = False

  def unused_positions(self, pad_id: int) -> int:
    """Returns the number of unused rows at the start of the position table."""
    return pad_id + 1 if self.padded_positions else self.position_offset

  def read_config(self, values: Values) -> EncoderConfig:
    """Returns the encoder config for the values of a config.json.

    Raises:
      InputError: a key is missing, or its value is not supported.
    """
    try:
      # A null value is the same as an absent key.
      return self._read({k: v for k, v in values.items() if v is not None})
    except (TypeError, ValueError, AttributeError) as error:
      raise InputError(f"config.json is not valid: {error}") from error

  def _read(self, values: Values) -> EncoderConfig:
    for key, expected in self.assumed.items():
      value = values.get(key, expected)
      require(
        value == expected,
        f"config.json has {key}={value!r}; model_type={self.model_type!r} "
        f"supports only {expected!r}",
      )
    values = {**self.defaults, **values}
    # transformers adds a type embedding to every token.
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
    # JSON may write the float 10000.0 as the integer 10000.
    types = {f.name: f.type for f in dataclasses.fields(EncoderConfig)}
    for key, value in ours.items():
      ours[key] = float(value) if types[key] is float else value
    return EncoderConfig(**ours)

  def write_config(self, config: EncoderConfig, vocab: Vocabulary) -> Values:
    """Returns the values of config.json for an encoder of this family."""
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
    if self.decoder_block:
      values["decoder_start_token_id"] = vocab.start_id
    return values | {
      "pad_token_id": vocab.pad_id,
      "bos_token_id": vocab.start_id,
      "cls_token_id": vocab.start_id,
      "eos_token_id": vocab.end_id,
      "sep_token_id": vocab.end_id,
      "mask_token_id": vocab.mask_id,
      "dtype": "float32",
      "torch_dtype": "float32",  # Before transformers 5.
    }

  def expresses(self, config: EncoderConfig, vocab: Vocabulary) -> bool:
    """Returns whether a model of the family computes exactly the same."""
    try:
      again = self.read_config(self.write_config(config, vocab))
    except InputError:
      return False
    return not config_lib.changed(again, config, config_lib.INFERENCE)


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
  """Returns the value of one of our keys as config.json spells it."""
  if key not in _VALUES:
    return value
  theirs = {ours: theirs for theirs, ours in _VALUES[key].items()}
  require(value in theirs, f"{key}={value!r} has no equivalent in config.json")
  return theirs[value]
