"""Small random transformers models of every family."""

import random

import torch
import transformers

VOCAB = 157

# Ids of special tokens; the padding token differs between families.
SPECIALS = {"start_id": 150, "end_id": 151, "mask_id": 152, "unk_id": 153}


def _bert(rng, shape):
  return transformers.BertForMaskedLM, {
    **shape,
    "hidden_act": rng.choice(["gelu", "gelu_new", "relu", "silu"]),
    "type_vocab_size": rng.choice([1, 2, 3]),
    "max_position_embeddings": rng.choice([40, 301]),
    "layer_norm_eps": rng.choice([1e-12, 1e-5]),
  }


def _roberta(rng, shape):
  return transformers.RobertaForMaskedLM, {
    **shape,
    "type_vocab_size": 1,
    "max_position_embeddings": rng.choice([42, 303]),
  }


def _xlm_roberta(rng, shape):
  return transformers.XLMRobertaForMaskedLM, {
    **shape,
    "type_vocab_size": 1,
    "pad_token_id": 3,
    "max_position_embeddings": 304,
  }


def _camembert(rng, shape):
  return transformers.CamembertForMaskedLM, _roberta(rng, shape)[1]


def _albert(rng, shape):
  return transformers.AlbertForMaskedLM, {
    **shape,
    "embedding_size": rng.choice([8, 12]),
    "hidden_act": rng.choice(["gelu", "gelu_new"]),
  }


def _electra(rng, shape):
  return transformers.ElectraForMaskedLM, {
    **shape,
    "embedding_size": rng.choice([8, shape["hidden_size"]]),
  }


def electra_discriminator(rng, shape):
  return transformers.ElectraForPreTraining, _electra(rng, shape)[1]


def _distilbert(rng, shape):
  return transformers.DistilBertForMaskedLM, {
    "dim": shape["hidden_size"],
    "n_layers": shape["num_hidden_layers"],
    "n_heads": shape["num_attention_heads"],
    "hidden_dim": shape["intermediate_size"],
    "vocab_size": shape["vocab_size"],
    "tie_word_embeddings": shape["tie_word_embeddings"],
    "activation": rng.choice(["gelu", "relu"]),
  }


def _modernbert(rng, shape):
  ids = {"bos_token_id": 150, "cls_token_id": 150}
  ids |= {"eos_token_id": 151, "sep_token_id": 151, "pad_token_id": 4}
  names = ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias")
  every = rng.choice([1, 2, 3])
  act = rng.choice(["gelu", "gelu_pytorch_tanh"])
  biases = {name: rng.random() < 0.5 for name in names}
  return transformers.ModernBertForMaskedLM, {
    **shape,
    **ids,
    **biases,
    "decoder_bias": rng.random() < 0.5,
    "hidden_activation": act,
    "classifier_activation": act,
    "global_attn_every_n_layers": every,
    "local_attention": rng.choice([6, 20]),
    "rope_parameters": {
      "full_attention": {"rope_theta": 5e4, "rope_type": "default"},
      "sliding_attention": {"rope_theta": 3e3, "rope_type": "default"},
    },
  }


def _nomic_bert(rng, shape):
  del shape["tie_word_embeddings"]  # Always tied.
  return transformers.NomicBertForMaskedLM, shape


def _eurobert(rng, shape):
  heads = shape["num_attention_heads"]
  return transformers.EuroBertForMaskedLM, {
    **shape,
    "num_key_value_heads": rng.choice(
      [n for n in (1, 2, heads) if not heads % n]
    ),
    "attention_bias": rng.random() < 0.5,
    "mlp_bias": rng.random() < 0.5,
    "pad_token_id": 4,
    "bos_token_id": 150,
    "eos_token_id": 151,
    "mask_token_id": 152,
  }


FAMILIES = {
  maker.__name__.removeprefix("_"): maker
  for maker in [
    _bert,
    _roberta,
    _xlm_roberta,
    _camembert,
    _albert,
    _electra,
    _distilbert,
    _modernbert,
    _nomic_bert,
    _eurobert,
  ]
}


def make_peer(maker, seed):
  """Returns a model of a small, unusual configuration with random weights."""
  # Seeded by name: the first numbers of small integer seeds are similar.
  rng = random.Random(f"{maker.__name__} {seed}")
  torch.manual_seed(seed)
  heads = rng.choice([1, 2, 3, 4])
  cls, values = maker(
    rng,
    {
      "vocab_size": VOCAB,
      "hidden_size": heads * rng.choice([4, 6, 10]),
      "num_hidden_layers": rng.choice([1, 2, 4]),
      "num_attention_heads": heads,
      "intermediate_size": rng.choice([17, 32, 51]),
      "tie_word_embeddings": rng.random() < 0.6,
    },
  )
  peer = cls(cls.config_class(**values)).eval()
  with torch.no_grad():
    for parameter in peer.parameters():
      parameter += 0.1 * torch.randn_like(parameter)
  return peer
