"""Encoder-decoder families: T5 as first released, and BART."""

from collections.abc import Mapping

from mlm_jax import families
from mlm_jax.config import EncoderConfig
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
  return {"d_kv": config.head_width}


T5 = Family(
  model_type="t5",
  architecture="T5ForConditionalGeneration",
  prefix="",
  keys={
    "num_layers": "num_layers",
    "num_decoder_layers": "num_decoder_layers",
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
  assumed={
    "feed_forward_proj": "relu",
    "tie_word_embeddings": True,
    "is_encoder_decoder": True,
  },
  write=_write_t5,
  modules={
    "encoder/token_embedding": ("shared",),
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
  write=_write_bart,
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
