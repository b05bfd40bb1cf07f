"""The supported Hugging Face model families, by model_type."""

import flax.linen as nn

from mlm_jax.errors import InputError, unknown
from mlm_jax.hf.families import bert, rotary, seq2seq
from mlm_jax.hf.families.base import Family, Values
from mlm_jax.models.composite import Discriminator, EncoderDecoder, MaskedLM
from mlm_jax.vocabulary import Vocabulary

# Families of encoders. An export takes the first that expresses the model.
FAMILIES = {
  "bert": bert.BERT,
  "distilbert": bert.DISTILBERT,
  "albert": bert.ALBERT,
  "electra": bert.ELECTRA,
  "roberta": bert.ROBERTA,
  "xlm-roberta": bert.XLM_ROBERTA,
  "modernbert": rotary.MODERNBERT,
  "nomic_bert": rotary.NOMICBERT,
  "eurobert": rotary.EUROBERT,
}

# Families of ELECTRA's discriminators (replaced token detection).
DISCRIMINATORS = {"electra": bert.ELECTRA_DISCRIMINATOR}

# Families of encoder-decoders.
ENCODER_DECODERS = {"t5": seq2seq.T5, "bart": seq2seq.BART}

_BY_MODEL = {
  MaskedLM: FAMILIES,
  Discriminator: DISCRIMINATORS,
  EncoderDecoder: ENCODER_DECODERS,
}


def of_config(values: Values) -> Family:
  """Returns the family of a config.json.

  Raises:
    InputError: its model_type is not supported.
  """
  model_type = str(values.get("model_type"))
  if model_type not in FAMILIES:
    raise unknown("model_type in config.json", model_type, FAMILIES)
  return FAMILIES[model_type]


def of_model(
  model: nn.Module, vocab: Vocabulary, name: str = ""
) -> Family | None:
  """Returns the family `name`, or the first that expresses a model, or None.

  Args:
    model: a `MaskedLM`, a `Discriminator` or an `EncoderDecoder`.
    vocab: its vocabulary.
    name: of a family; "" for any.

  Raises:
    InputError: the family `name` is unknown or does not express the model.
  """
  found = _BY_MODEL.get(type(model), {})
  if name and found:
    if name not in found:
      raise unknown("family", name, found)
    if not found[name].expresses(model.config, vocab):
      raise InputError(f"no model of family {name!r} computes the same as this")
    return found[name]
  return next(
    (f for f in found.values() if f.expresses(model.config, vocab)), None
  )
