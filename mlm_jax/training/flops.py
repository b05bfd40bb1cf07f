"""What a step must compute."""

from mlm_jax.config import Config, EncoderConfig
from mlm_jax.data import corruption as corruption_lib
from mlm_jax.models.encoder import padded_vocab_size


def train_flops_per_token(config: Config) -> float:
  """Returns the FLOPs that training on one token of a full row takes.

  Matmuls alone, the backward pass twice the forward; attention between all tokens
  of a row, or those of a window; the head at target positions only.
  """
  length = config.data.seq_len
  targets = corruption_lib.bind(config.corruption).num_targets(length)
  flops = _encoder_flops(config.model, length)
  flops += _decoder_flops(config.model, targets, length)
  speaker = config.model
  if config.objective.name == "rtd":
    # The detector's head is one more matmul of its width.
    flops += 2 * length * config.model.width**2
    speaker = config.objective.generator(config.model)
    flops += _encoder_flops(speaker, length)
  heads = 2 if config.objective.span_boundary else 1
  flops += heads * _head_flops(speaker, targets, config.data.vocab_size)
  return 3 * flops / length


def _encoder_flops(model: EncoderConfig, length: int) -> float:
  embed = 2 * length * model.embedding_width * model.width
  layers = [
    _layer_flops(model, length, model.window if model.is_local(layer) else 0)
    for layer in range(model.num_layers)
  ]
  return sum(layers) + embed


def _layer_flops(model: EncoderConfig, length: int, window: int = 0) -> float:
  width, seen = model.width, min(length, window + 1) if window else length
  qkv = width * model.head_width * (model.num_heads + 2 * model.kv_heads)
  mlp = (3 if model.glu else 2) * width * model.mlp_width
  return 2 * length * (qkv + width**2 + mlp) + 4 * length * seen * width


def _decoder_flops(model: EncoderConfig, length: int, read: int) -> float:
  width = model.width
  # Cross attention: its queries and its output, then the keys and values.
  cross = 2 * length * 2 * width**2 + 4 * length * read * width
  cross += 2 * read * width * model.head_width * 2 * model.kv_heads
  return model.num_decoder_layers * (_layer_flops(model, length) + cross)


def _head_flops(model: EncoderConfig, targets: int, vocab_size: int) -> float:
  head = 2 * targets * model.table_width * padded_vocab_size(vocab_size)
  if model.head_dense != "none":
    head += 2 * targets * model.width * model.table_width
  return head
