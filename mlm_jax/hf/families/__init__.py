"""The supported Hugging Face model families, by model_type."""

from collections.abc import Collection

import flax.linen as nn

from mlm_jax.errors import InputError, require, unknown
from mlm_jax.hf.families import bert, rotary, seq2seq
from mlm_jax.hf.families.base import Family, Values
from mlm_jax.hf.families.bert import BUFFERS
from mlm_jax.hf.families.pairs import PAIRS, PairHead
from mlm_jax.models.composite import Discriminator, EncoderDecoder, MaskedLM
from mlm_jax.vocabulary import Vocabulary

__all__ = ["BUFFERS", "PAIRS", "Family", "PairHead", "Values"]

# Families of encoders. An export takes the first that expresses the model.
FAMILIES = {
  "bert": bert.BERT,
  "distilbert": bert.DISTILBERT,
  "albert": bert.ALBERT,
  "electra": bert.ELECTRA,
  "roberta": bert.ROBERTA,
  "xlm-roberta": bert.XLM_ROBERTA,
  "camembert": bert.CAMEMBERT,
  "modernbert": rotary.MODERNBERT,
  "nomic_bert": rotary.NOMICBERT,
  "eurobert": rotary.EUROBERT,
}

# Families of ELECTRA's discriminators (replaced token detection).
DISCRIMINATORS = {"electra": bert.ELECTRA_DISCRIMINATOR}

# Families of encoder-decoders.
ENCODER_DECODERS = {
  "t5": seq2seq.T5,
  "t5-v1.1": seq2seq.T5_V1_1,
  "mt5": seq2seq.MT5,
  "bart": seq2seq.BART,
}

_BY_MODEL = {
  MaskedLM: FAMILIES,
  Discriminator: DISCRIMINATORS,
  EncoderDecoder: ENCODER_DECODERS,
}


# Why others are not read.
WHY_NOT = {
  "big_bird": "its attention is sparse, with random blocks",
  "deberta": "its attention to relative positions would be a second encoder",
  "deberta-v2": "its attention to relative positions would be a second encoder",
  "fnet": "it mixes tokens by Fourier transforms",
  "funnel": "it pools tokens between its blocks",
  "llama": "it is causal",
  "longformer": "its attention is sparse, with weights of its own for some",
  "mpnet": "its relative positions are shared by all layers",
  "neobert": "its rotary positions turn neighbouring channels",
  "xlnet": "its attention has two streams",
}


def of_config(values: Values, names: Collection[str] = ()) -> Family:
  """Returns the family of a config.json.

  Args:
    values: of config.json.
    names: those of the tensors, by which a model is recognised where
      config.json does not say what it is.

  Raises:
    InputError: its model_type is not supported, or missing.
  """
  model_type = values.get("model_type")
  if model_type is None:
    return _of_tensors(names)
  require(
    isinstance(model_type, str), f"config.json has model_type={model_type!r}"
  )
  if model_type == "nomic_bert" and "n_embd" in values:
    return rotary.NOMICBERT_2024
  if model_type == "bert" and "alibi_starting_size" in values:
    return bert.MOSAICBERT
  if model_type == "t5" and values.get("feed_forward_proj", "relu") != "relu":
    return seq2seq.T5_V1_1
  if model_type in ENCODER_DECODERS:
    return ENCODER_DECODERS[model_type]
  if model_type not in FAMILIES:
    # A model_type is no typing error: no other family is suggested.
    why = WHY_NOT.get(model_type)
    supported = ", ".join([*FAMILIES, *ENCODER_DECODERS])
    raise InputError(
      f"model_type={model_type!r} of config.json cannot be imported"
      + (f": {why}" if why else f"; supported: {supported}")
    )
  return FAMILIES[model_type]


def _of_tensors(names: Collection[str]) -> Family:
  """Returns the first family with a tensor of its first block among these."""
  found = {}
  for model_type, family in FAMILIES.items():
    (module, *_), *_ = family.block_modules.values()
    tensor = f"{family.block.format(0)}.{module}.weight"
    bare = tensor.removeprefix(f"{family.prefix}.")
    if tensor in names or bare in names:
      # Families that differ in nothing but their name are one.
      found.setdefault(tensor, model_type)
  if len(found) == 1:
    return FAMILIES[found.popitem()[1]]
  hint = ", ".join(found.values() or FAMILIES)
  raise InputError(
    "config.json has no model_type, and the names of the tensors do not say "
    f'what it is: add "model_type", one of {hint}'
  )


def of_model(
  model: nn.Module, vocab: Vocabulary, name: str = "", preferred: str = ""
) -> Family | None:
  """Returns the family `name`, or the first that expresses a model, or None.

  Args:
    model: a `MaskedLM`, a `Discriminator` or an `EncoderDecoder`.
    vocab: its vocabulary.
    name: of a family; "" for any.
    preferred: the model_type to take where several express the model.

  Raises:
    InputError: the family `name` is unknown or does not express the model.
  """
  found = _BY_MODEL.get(type(model), {})
  if name and found:
    # T5 has two with one model_type.
    named = {k: f for k, f in found.items() if name in (k, f.model_type)}
    if not named:
      raise unknown("family", name, found)
    found = named
  ordered = sorted(found.values(), key=lambda f: f.model_type != preferred)
  family = next((f for f in ordered if f.expresses(model.config, vocab)), None)
  if name and found and family is None:
    raise InputError(f"no model of family {name!r} computes the same as this")
  return family
