"""Families with rotary positions (RoPE) and gated MLPs (GLU)."""

import dataclasses

from mlm_jax import families
from mlm_jax.config import EncoderConfig
from mlm_jax.errors import require
from mlm_jax.families import DROPOUTS
from mlm_jax.hf.families.base import Family, Values, write_value
from mlm_jax.hf.families.bert import (
  BERT_DEFAULTS,
  BERT_HEAD,
  BERT_KEYS,
  BUFFERS,
  POOLER,
  under,
)


def _theta(values: Values, kind: str | None, old_key: str, default: float):
  """Returns a RoPE base; transformers 5 keeps it in `rope_parameters`.

  Args:
    values: of config.json.
    kind: the attention type that it belongs to; None if there is one base.
    old_key: its key before transformers 5.
    default: its value if config.json has neither.
  """
  rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
  if kind:
    rope = rope.get(kind) or {}
  scaling = rope.get("rope_type", rope.get("type", "default"))
  require(
    scaling == "default",
    f"config.json has rope_type={scaling!r}; only 'default' is supported",
  )
  return float(rope.get("rope_theta", values.get(old_key, default)))


def _rope(theta: float) -> Values:
  return {"rope_theta": theta, "rope_type": "default"}


def _layer_types(num_layers: int, every: int) -> list[str]:
  return [
    "sliding_attention" if layer % every else "full_attention"
    for layer in range(num_layers)
  ]


def _read_modernbert(values: Values) -> Values:
  act = values.get("hidden_activation", "gelu")
  require(
    values.get("classifier_activation", "gelu") == act,
    "config.json has a classifier_activation other than hidden_activation",
  )
  num_layers = values["num_hidden_layers"]
  every = values.get("global_attn_every_n_layers", 3)
  types = values.get("layer_types") or _layer_types(num_layers, every)
  if types != _layer_types(num_layers, every):
    # The second global layer shows the period; without one, any will do.
    every = (types + ["full_attention"]).index("full_attention", 1)
  require(
    types == _layer_types(num_layers, every),
    "config.json has layer_types where not every n-th layer is global",
  )
  window = values.get("local_attention", 128)
  return {
    "rope_theta": _theta(
      values, "full_attention", "global_rope_theta", 160_000
    ),
    "local_rope_theta": _theta(
      values, "sliding_attention", "local_rope_theta", 10_000
    ),
    "window": window if every > 1 else 0,
    "global_every": every,
  }


def _write_modernbert(config: EncoderConfig) -> Values:
  every = config.global_every
  return {
    "classifier_activation": write_value("activation", config.activation),
    "layer_types": _layer_types(config.num_layers, every),
    "local_attention": config.window or 128,
    "rope_parameters": {
      "full_attention": _rope(config.rope_theta),
      "sliding_attention": _rope(config.local_rope_theta),
    },
    # Before transformers 5.
    "global_attn_every_n_layers": every,
    "global_rope_theta": config.rope_theta,
    "local_rope_theta": config.local_rope_theta,
  }


MODERNBERT = Family(
  model_type="modernbert",
  architecture="ModernBertForMaskedLM",
  prefix="model",
  keys={
    "num_layers": "num_hidden_layers",
    "width": "hidden_size",
    "num_heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
    "activation": "hidden_activation",
    "norm_eps": "norm_eps",
    "norm_bias": "norm_bias",
    "attention_bias": "attention_bias",
    "mlp_bias": "mlp_bias",
    "head_dense": "classifier_bias",
    "head_bias": "decoder_bias",
    "max_positions": "max_position_embeddings",
    "init_stddev": "initializer_range",
    "tie_embeddings": "tie_word_embeddings",
    **dict(zip(DROPOUTS, DROPOUTS, strict=True)),
  },
  fixed=families.MODERNBERT,
  defaults={
    "tie_word_embeddings": True,
    "hidden_activation": "gelu",
    "norm_eps": 1e-5,
    "norm_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "classifier_bias": False,
    "decoder_bias": True,
    "initializer_range": 0.02,
    **dict.fromkeys(DROPOUTS, 0.0),
  },
  modules={
    "encoder/token_embedding": ("model.embeddings.tok_embeddings",),
    "encoder/embedding_norm": ("model.embeddings.norm",),
    "encoder/final_norm": ("model.final_norm",),
    "head/dense": ("head.dense",),
    "head/norm": ("head.norm",),
    "head/table": ("decoder",),
    "head/bias": ("decoder.bias",),
  },
  block="model.layers.{}",
  block_modules={
    "attention/qkv": ("attn.Wqkv",),
    "attention/out": ("attn.Wo",),
    "norm_1": ("attn_norm",),
    "mlp/in": ("mlp.Wi",),
    "mlp/out": ("mlp.Wo",),
    "norm_2": ("mlp_norm",),
  },
  ignored=BUFFERS,
  read=_read_modernbert,
  write=_write_modernbert,
)

NOMICBERT = Family(
  model_type="nomic_bert",
  architecture="NomicBertForMaskedLM",
  prefix="nomic_bert",
  older_prefix="bert",
  keys=BERT_KEYS,
  fixed=families.NOMIC_BERT,
  defaults=BERT_DEFAULTS | {"hidden_act": "silu", "hidden_dropout_prob": 0.0},
  modules={
    "encoder/token_embedding": ("nomic_bert.embeddings.word_embeddings",),
    "encoder/type_embedding": ("nomic_bert.embeddings.token_type_embeddings",),
    "encoder/embedding_norm": ("nomic_bert.emb_ln",),
    **under("cls.predictions", BERT_HEAD),
    "head/norm": ("cls.predictions.transform.layer_norm",),
  },
  block="nomic_bert.encoder.layers.{}",
  block_modules={
    "attention/qkv": ("attn.Wqkv",),
    "attention/out": ("attn.out_proj",),
    "norm_1": ("norm1",),
    "mlp/in": ("mlp.fc12", "mlp.fc11"),
    "mlp/out": ("mlp.fc2",),
    "norm_2": ("norm2",),
  },
  ignored=(*POOLER, *BUFFERS),
  read=lambda values: {
    "rope_theta": _theta(values, None, "rotary_emb_base", 1000.0)
  },
  write=lambda config: {
    "rope_parameters": _rope(config.rope_theta),
    "head_dim": config.head_width,
  },
)


# As its own code, of 2024, spells config.json.
NOMICBERT_2024 = dataclasses.replace(
  NOMICBERT,
  keys={
    "num_layers": "n_layer",
    "width": "n_embd",
    "num_heads": "n_head",
    "mlp_width": "n_inner",
    "max_positions": "n_positions",
    "num_types": "type_vocab_size",
    "norm_eps": "layer_norm_epsilon",
    "init_stddev": "initializer_range",
    "tie_embeddings": "tie_word_embeddings",
    "embedding_dropout": "embd_pdrop",
    "attention_dropout": "resid_pdrop",
    "mlp_dropout": "resid_pdrop",
  },
  defaults={
    "tie_word_embeddings": True,
    "layer_norm_epsilon": 1e-12,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
  },
  assumed={
    "activation_function": "swiglu",
    "causal": False,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "prenorm": False,
    "qkv_proj_bias": False,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_scaling_factor": None,
    "use_rms_norm": False,
  },
  older_spelling=True,
)


def _kv_heads(values: Values) -> int:
  heads = values.get("num_key_value_heads") or values["num_attention_heads"]
  return 0 if heads == values["num_attention_heads"] else heads


EUROBERT = Family(
  model_type="eurobert",
  architecture="EuroBertForMaskedLM",
  prefix="model",
  keys={
    "num_layers": "num_hidden_layers",
    "width": "hidden_size",
    "num_heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
    "activation": "hidden_act",
    "norm_eps": "rms_norm_eps",
    "attention_bias": "attention_bias",
    "mlp_bias": "mlp_bias",
    "head_bias": "mlp_bias",
    "max_positions": "max_position_embeddings",
    "init_stddev": "initializer_range",
    "tie_embeddings": "tie_word_embeddings",
  },
  fixed=families.EUROBERT,
  defaults={
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "rms_norm_eps": 1e-5,
    "initializer_range": 0.02,
  },
  modules={
    "encoder/token_embedding": ("model.embed_tokens",),
    "encoder/final_norm": ("model.norm",),
    "head/table": ("lm_head",),
    "head/bias": ("lm_head.bias",),
  },
  block="model.layers.{}",
  block_modules={
    "attention/qkv": (
      "self_attn.q_proj",
      "self_attn.k_proj",
      "self_attn.v_proj",
    ),
    "attention/out": ("self_attn.o_proj",),
    "norm_1": ("input_layernorm",),
    "mlp/in": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp/out": ("mlp.down_proj",),
    "norm_2": ("post_attention_layernorm",),
  },
  ignored=BUFFERS,
  read=lambda values: {
    "rope_theta": _theta(values, None, "rope_theta", 10_000.0),
    "num_kv_heads": _kv_heads(values),
  },
  write=lambda config: {
    "rope_parameters": _rope(config.rope_theta),
    "rope_theta": config.rope_theta,
    "num_key_value_heads": config.kv_heads,
    "head_dim": config.head_width,
  },
)
