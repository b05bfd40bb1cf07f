"""The families that Hugging Face's transformers has, one table each."""

from mlm_jax.config import EncoderConfig
from mlm_jax.data.tokenizer import Vocabulary
from mlm_jax.errors import InputError, unknown
from mlm_jax.hf.families import bert, rotary
from mlm_jax.hf.family import Family, Values

# Where several can express an encoder, the first is what it is exported as.
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


def of_config(values: Values) -> Family:
  """Returns the family of a config.json."""
  model_type = str(values.get("model_type"))
  if model_type not in FAMILIES:
    raise unknown("model_type in config.json", model_type, FAMILIES)
  return FAMILIES[model_type]


def of_encoder(
  config: EncoderConfig, vocab: Vocabulary, name: str = ""
) -> Family | None:
  """Returns the family called `name`, or the first that can express `config`.

  None where no family can.

  Raises:
    InputError: the one that was asked for cannot.
  """
  if name:
    if name not in FAMILIES:
      raise unknown("family", name, FAMILIES)
    if not FAMILIES[name].expresses(config, vocab):
      raise InputError(
        f"no model of the family {name!r} computes what this does"
      )
    return FAMILIES[name]
  able = (f for f in FAMILIES.values() if f.expresses(config, vocab))
  return next(able, None)
