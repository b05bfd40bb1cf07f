"""BERT and the families that kept its block.

Post-norm, learned positions, and biases everywhere.
"""

import dataclasses
from collections.abc import Mapping

from mlm_jax import families
from mlm_jax.errors import require
from mlm_jax.families import DROPOUTS
from mlm_jax.hf.families.base import Family, Values

BERT_KEYS = {
  "num_layers": "num_hidden_layers",
  "width": "hidden_size",
  "num_heads": "num_attention_heads",
  "mlp_width": "intermediate_size",
  "activation": "hidden_act",
  "norm_eps": "layer_norm_eps",
  "max_positions": "max_position_embeddings",
  "num_types": "type_vocab_size",
  "init_stddev": "initializer_range",
  "tie_embeddings": "tie_word_embeddings",
  **dict.fromkeys(DROPOUTS, "hidden_dropout_prob"),
}

BERT_DEFAULTS = {
  "tie_word_embeddings": True,
  "layer_norm_eps": 1e-12,
  "type_vocab_size": 2,
  "hidden_act": "gelu",
  "initializer_range": 0.02,
  "hidden_dropout_prob": 0.1,
}

# transformers would drop a tenth of attention probabilities by default.
_NO_DROPOUT = {"attention_probs_dropout_prob": 0.0}

_BERT_ASSUMED = {
  "position_embedding_type": "absolute",
  "is_decoder": False,
  "add_cross_attention": False,
}

_EMBEDDINGS = {
  "encoder/token_embedding": ("embeddings.word_embeddings",),
  "encoder/position_embedding": ("embeddings.position_embeddings",),
  "encoder/type_embedding": ("embeddings.token_type_embeddings",),
  "encoder/embedding_norm": ("embeddings.LayerNorm",),
}


def under(prefix: str, modules: Mapping[str, tuple[str, ...]]):
  """Returns modules whose names are prefixed."""
  return {
    ours: tuple(f"{prefix}.{name}" for name in names)
    for ours, names in modules.items()
  }


_BERT_BLOCK = {
  "attention/qkv": (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
  ),
  "attention/out": ("attention.output.dense",),
  "norm_1": ("attention.output.LayerNorm",),
  "mlp/in": ("intermediate.dense",),
  "mlp/out": ("output.dense",),
  "norm_2": ("output.LayerNorm",),
}

BERT_HEAD = {
  "head/dense": ("transform.dense",),
  "head/norm": ("transform.LayerNorm",),
  "head/table": ("decoder",),
  "head/bias": ("bias",),
}

POOLER = ("pooler.dense.weight", "pooler.dense.bias")
BUFFERS = ("position_ids", "token_type_ids", "inv_freq")

BERT = Family(
  model_type="bert",
  architecture="BertForMaskedLM",
  prefix="bert",
  keys=BERT_KEYS,
  defaults=BERT_DEFAULTS,
  assumed=_BERT_ASSUMED,
  modules=under("bert", _EMBEDDINGS) | under("cls.predictions", BERT_HEAD),
  block="bert.encoder.layer.{}",
  block_modules=_BERT_BLOCK,
  ignored=(
    *POOLER,
    *BUFFERS,
    "cls.seq_relationship.weight",
    "cls.seq_relationship.bias",
  ),
  write=lambda config: _NO_DROPOUT,
)

# Its head uses the exact GELU, whatever config.json says.
ROBERTA = dataclasses.replace(
  BERT,
  model_type="roberta",
  architecture="RobertaForMaskedLM",
  prefix="roberta",
  keys={k: v for k, v in BERT_KEYS.items() if k != "activation"},
  defaults=BERT_DEFAULTS | {"pad_token_id": 1},
  assumed=_BERT_ASSUMED | {"hidden_act": "gelu"},
  modules={
    **under("roberta", _EMBEDDINGS),
    "head/dense": ("lm_head.dense",),
    "head/norm": ("lm_head.layer_norm",),
    "head/table": ("lm_head.decoder",),
    "head/bias": ("lm_head.bias",),
  },
  block="roberta.encoder.layer.{}",
  ignored=(*POOLER, *BUFFERS),
  padded_positions=True,
)

XLM_ROBERTA = dataclasses.replace(
  ROBERTA, model_type="xlm-roberta", architecture="XLMRobertaForMaskedLM"
)

CAMEMBERT = dataclasses.replace(
  ROBERTA, model_type="camembert", architecture="CamembertForMaskedLM"
)

# DNABERT-2 is one, too. transformers has no class of it: its own code comes
# with the models, and is never run.
MOSAICBERT = dataclasses.replace(
  BERT,
  architecture="MosaicBERT",
  fixed=families.MOSAICBERT,
  modules={
    k: v
    for k, v in BERT.modules.items()
    if not k.endswith("position_embedding")
  },
  block_modules={
    "attention/qkv": ("attention.self.Wqkv",),
    "attention/out": ("attention.output.dense",),
    "norm_1": ("attention.output.LayerNorm",),
    "mlp/in": ("mlp.gated_layers",),
    "mlp/out": ("mlp.wo",),
    "norm_2": ("mlp.layernorm",),
  },
)

DISTILBERT = Family(
  model_type="distilbert",
  architecture="DistilBertForMaskedLM",
  prefix="distilbert",
  keys={
    "num_layers": "n_layers",
    "width": "dim",
    "num_heads": "n_heads",
    "mlp_width": "hidden_dim",
    "activation": "activation",
    "max_positions": "max_position_embeddings",
    "init_stddev": "initializer_range",
    "tie_embeddings": "tie_word_embeddings",
    **dict.fromkeys(DROPOUTS, "dropout"),
  },
  fixed=families.DISTILBERT,
  defaults={
    "tie_word_embeddings": True,
    "activation": "gelu",
    "initializer_range": 0.02,
    "dropout": 0.1,
  },
  modules={
    **under("distilbert", _EMBEDDINGS),
    "head/dense": ("vocab_transform",),
    "head/norm": ("vocab_layer_norm",),
    "head/table": ("vocab_projector",),
    "head/bias": ("vocab_projector.bias",),
  },
  block="distilbert.transformer.layer.{}",
  block_modules={
    "attention/qkv": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    "attention/out": ("attention.out_lin",),
    "norm_1": ("sa_layer_norm",),
    "mlp/in": ("ffn.lin1",),
    "mlp/out": ("ffn.lin2",),
    "norm_2": ("output_layer_norm",),
  },
  ignored=BUFFERS,
  write=lambda config: {"attention_dropout": 0.0},
)


def _read_albert(values: Values) -> Values:
  # ALBERT has a projection even between equal widths.
  require(values["embedding_size"] > 0, "config.json has embedding_size=0")
  return {}


ALBERT = Family(
  model_type="albert",
  architecture="AlbertForMaskedLM",
  prefix="albert",
  keys=BERT_KEYS | {"embedding_width": "embedding_size"},
  fixed=families.ALBERT,
  read=_read_albert,
  defaults=BERT_DEFAULTS | {"embedding_size": 128, "hidden_act": "gelu_new"},
  assumed={
    "position_embedding_type": "absolute",
    "num_hidden_groups": 1,
    "inner_group_num": 1,
  },
  modules={
    **under("albert", _EMBEDDINGS),
    "encoder/embedding_projection": (
      "albert.encoder.embedding_hidden_mapping_in",
    ),
    "head/dense": ("predictions.dense",),
    "head/norm": ("predictions.LayerNorm",),
    "head/table": ("predictions.decoder",),
    "head/bias": ("predictions.bias",),
  },
  block="albert.encoder.albert_layer_groups.{}.albert_layers.0",
  block_modules={
    "attention/qkv": ("attention.query", "attention.key", "attention.value"),
    "attention/out": ("attention.dense",),
    "norm_1": ("attention.LayerNorm",),
    "mlp/in": ("ffn",),
    "mlp/out": ("ffn_output",),
    "norm_2": ("full_layer_layer_norm",),
  },
  ignored=(
    *BUFFERS,
    "albert.pooler.weight",
    "albert.pooler.bias",
    "sop_classifier.classifier.weight",
    "sop_classifier.classifier.bias",
  ),
)


def _read_electra(values: Values) -> Values:
  # Without a projection, the embedding tables have the encoder's width.
  width, table_width = values["hidden_size"], values["embedding_size"]
  return {"embedding_width": 0 if table_width == width else table_width}


# ELECTRA's generator. Its head uses the exact GELU, whatever config.json says.
ELECTRA = Family(
  model_type="electra",
  architecture="ElectraForMaskedLM",
  prefix="electra",
  keys={k: v for k, v in BERT_KEYS.items() if k != "activation"},
  defaults=BERT_DEFAULTS | {"embedding_size": 128},
  assumed=_BERT_ASSUMED | {"hidden_act": "gelu"},
  modules={
    **under("electra", _EMBEDDINGS),
    "encoder/embedding_projection": ("electra.embeddings_project",),
    "head/dense": ("generator_predictions.dense",),
    "head/norm": ("generator_predictions.LayerNorm",),
    "head/table": ("generator_lm_head",),
    "head/bias": ("generator_lm_head.bias",),
  },
  block="electra.encoder.layer.{}",
  block_modules=_BERT_BLOCK,
  ignored=BUFFERS,
  read=_read_electra,
  write=lambda config: {"embedding_size": config.table_width, **_NO_DROPOUT},
)

_ELECTRA_ENCODER = {
  k: v for k, v in ELECTRA.modules.items() if k.startswith("encoder/")
}

ELECTRA_DISCRIMINATOR = dataclasses.replace(
  ELECTRA,
  architecture="ElectraForPreTraining",
  modules={
    **_ELECTRA_ENCODER,
    "head/dense": ("discriminator_predictions.dense",),
    "head/out": ("discriminator_predictions.dense_prediction",),
  },
)
