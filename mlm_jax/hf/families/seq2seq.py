"""Encoder-decoder families: T5, T5 1.1, mT5 and BART."""

import dataclasses
from collections.abc import Mapping

from mlm_jax import families
from mlm_jax.config import EncoderConfig
from mlm_jax.errors import require
from mlm_jax.families import DROPOUTS
from mlm_jax.hf.families.base import Family, Values


def _encoder_and_decoder(
  prefix: str, names: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
  """Returns modules that the encoder and the decoder both have."""
  return {
    f"{stack}/{ours}": (f"{prefix}{stack}.{theirs}",)
    for stack in ("encoder", "decoder")
    for ours, theirs in names.items()
  }


def _t5_block(mlp: int) -> dict[str, tuple[str, ...]]:
  """Returns the modules of a block whose layer number `mlp` is the MLP."""
  attention = "layer.0.SelfAttention"
  return {
    "attention/qkv": tuple(f"{attention}.{letter}" for letter in "qkv"),
    "attention/out": (f"{attention}.o",),
    "norm_1": ("layer.0.layer_norm",),
    "mlp/in": (f"layer.{mlp}.DenseReluDense.wi",),
    "mlp/out": (f"layer.{mlp}.DenseReluDense.wo",),
    "norm_2": (f"layer.{mlp}.layer_norm",),
  }


def _write_t5(config: EncoderConfig) -> Values:
  return {
    "d_kv": config.head_width,
    "num_decoder_layers": config.num_decoder_layers,
    "tie_word_embeddings": config.tie_embeddings,
    "scale_decoder_outputs": config.scale_logits,
  }


def _read_t5(values: Values) -> Values:
  width, heads = values["d_model"], values["num_heads"]
  d_kv = values.get("d_kv", width // heads)
  require(
    d_kv * heads == width,
    f"config.json has d_kv={d_kv}: {heads} heads of another width than "
    f"{width} together are not supported",
  )
  tied = values.get("tie_word_embeddings", True)
  return {
    "num_decoder_layers": values.get(
      "num_decoder_layers", values["num_layers"]
    ),
    "tie_embeddings": tied,
    # transformers 5 has a key of its own for it.
    "scale_logits": values.get("scale_decoder_outputs", tied),
  }


T5 = Family(
  model_type="t5",
  architecture="T5ForConditionalGeneration",
  prefix="",
  keys={
    "num_layers": "num_layers",
    "width": "d_model",
    "num_heads": "num_heads",
    "mlp_width": "d_ff",
    "norm_eps": "layer_norm_epsilon",
    "max_positions": "n_positions",
    "relative_buckets": "relative_attention_num_buckets",
    "relative_distance": "relative_attention_max_distance",
    **dict.fromkeys(DROPOUTS, "dropout_rate"),
  },
  fixed=families.T5,
  defaults={
    "layer_norm_epsilon": 1e-6,
    "n_positions": 512,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "dropout_rate": 0.1,
  },
  assumed={
    "feed_forward_proj": "relu",
    "is_encoder_decoder": True,
  },
  read=_read_t5,
  write=_write_t5,
  # Copies of the shared table, in files of older versions.
  ignored=("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
  modules={
    "encoder/token_embedding": ("shared",),
    "head/table": ("lm_head",),
    **_encoder_and_decoder(
      "",
      {
        "relative_bias": (
          "block.0.layer.0.SelfAttention.relative_attention_bias"
        ),
        "final_norm": "final_layer_norm",
      },
    ),
  },
  block="encoder.block.{}",
  block_modules=_t5_block(mlp=1),
  decoder_block="decoder.block.{}",
  decoder_modules={
    **_t5_block(mlp=2),
    "cross/q": ("layer.1.EncDecAttention.q",),
    "cross/kv": ("layer.1.EncDecAttention.k", "layer.1.EncDecAttention.v"),
    "cross/out": ("layer.1.EncDecAttention.o",),
    "norm_cross": ("layer.1.layer_norm",),
  },
  unscaled_queries=True,
)


def _gated(modules: Mapping[str, tuple[str, ...]]):
  (name,) = modules["mlp/in"]
  return {**modules, "mlp/in": (f"{name}_0", f"{name}_1")}


T5_V1_1 = dataclasses.replace(
  T5,
  fixed=families.T5_V1_1,
  assumed=T5.assumed | {"feed_forward_proj": "gated-gelu"},
  block_modules=_gated(T5.block_modules),
  decoder_modules=_gated(T5.decoder_modules),
)

MT5 = dataclasses.replace(
  T5_V1_1, model_type="mt5", architecture="MT5ForConditionalGeneration"
)

_BART_BLOCK = {
  "attention/qkv": (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
  ),
  "attention/out": ("self_attn.out_proj",),
  "norm_1": ("self_attn_layer_norm",),
  "mlp/in": ("fc1",),
  "mlp/out": ("fc2",),
  "norm_2": ("final_layer_norm",),
}


def _read_bart(values: Values) -> Values:
  for ours, theirs in (
    ("encoder_attention_heads", "decoder_attention_heads"),
    ("encoder_ffn_dim", "decoder_ffn_dim"),
  ):
    require(
      values.get(theirs, values[ours]) == values[ours],
      f"config.json has {theirs}={values[theirs]}, not {ours}={values[ours]}",
    )
  return {}


def _write_bart(config: EncoderConfig) -> Values:
  return {
    "decoder_attention_heads": config.num_heads,
    "decoder_ffn_dim": config.mlp_width,
    # transformers' default, 2, would be forced at the maximum length.
    "forced_eos_token_id": None,
  }


BART = Family(
  model_type="bart",
  architecture="BartForConditionalGeneration",
  prefix="model",
  keys={
    "num_layers": "encoder_layers",
    "num_decoder_layers": "decoder_layers",
    "width": "d_model",
    "num_heads": "encoder_attention_heads",
    "mlp_width": "encoder_ffn_dim",
    "activation": "activation_function",
    "max_positions": "max_position_embeddings",
    "init_stddev": "init_std",
    **dict.fromkeys(DROPOUTS, "dropout"),
  },
  fixed=families.BART,
  assumed={
    "scale_embedding": False,
    "tie_word_embeddings": True,
    "is_encoder_decoder": True,
  },
  read=_read_bart,
  write=_write_bart,
  defaults={
    "activation_function": "gelu",
    "dropout": 0.1,
    "init_std": 0.02,
    "max_position_embeddings": 1024,
  },
  ignored=("embed_tokens.weight", "lm_head.weight", "final_logits_bias"),
  modules={
    "encoder/token_embedding": ("model.shared",),
    **_encoder_and_decoder(
      "model.",
      {
        "position_embedding": "embed_positions",
        "embedding_norm": "layernorm_embedding",
      },
    ),
  },
  block="model.encoder.layers.{}",
  block_modules=_BART_BLOCK,
  decoder_block="model.decoder.layers.{}",
  decoder_modules={
    **_BART_BLOCK,
    "cross/q": ("encoder_attn.q_proj",),
    "cross/kv": ("encoder_attn.k_proj", "encoder_attn.v_proj"),
    "cross/out": ("encoder_attn.out_proj",),
    "norm_cross": ("encoder_attn_layer_norm",),
  },
  position_offset=2,
)
