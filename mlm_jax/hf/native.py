"""The native format, for models without an equivalent in transformers.

Its config.json contains the `EncoderConfig`; its tensors have our names.
"""

import dataclasses

import flax.linen as nn

from mlm_jax import config as config_lib
from mlm_jax.config import EncoderConfig
from mlm_jax.errors import require
from mlm_jax.hf.families.base import Values
from mlm_jax.vocabulary import Vocabulary

NAME = "mlm_jax's native format"
MODEL_TYPE = "mlm_jax"


def write_config(model: nn.Module, vocab: Vocabulary) -> Values:
  """Returns the values of config.json for a `MaskedLM`."""
  return {
    "architectures": [type(model).__name__],
    "model_type": MODEL_TYPE,
    "vocab_size": vocab.size,
    "model": dataclasses.asdict(model.config),
  }


def read_config(values: Values) -> EncoderConfig:
  """Returns the encoder config for the values of `write_config`.

  Raises:
    InputError: a key is missing or unknown.
  """
  for key in ("model", "vocab_size"):
    require(key in values, f"config.json lacks {key!r}")
  return config_lib.build(
    {"model": values["model"], "data": {"seq_len": 8}}
  ).model
