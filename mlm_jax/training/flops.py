"""What a step must compute, and what the devices could."""

import functools
import time

import jax
import jax.numpy as jnp

from mlm_jax.config import Config, EncoderConfig
from mlm_jax.data import corruption as corruption_lib
from mlm_jax.models.encoder import padded_vocab_size

# Dense bfloat16 FLOP/s of one JAX device, by the start of its kind's name, from
# the vendors' data sheets. (A TPU v2, v3 or 7x device is half a chip.)
_PEAKS = {
  "TPU v2": 22.5e12,
  "TPU v3": 61.5e12,
  "TPU v4": 275e12,
  "TPU v5 lite": 197e12,
  "TPU v5e": 197e12,
  "TPU v5": 459e12,
  "TPU v6": 918e12,
  "TPU7x": 1153.5e12,
  "NVIDIA H100": 989e12,
  "NVIDIA H200": 989e12,
  "NVIDIA A100": 312e12,
  "NVIDIA L40S": 362e12,
  "NVIDIA L40": 181e12,
  "NVIDIA L4": 121e12,
  "Tesla V100": 125e12,
  "Tesla T4": 65e12,
}


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


@functools.cache
def peak_flops() -> float | None:
  """Returns the FLOP/s of one device; of a CPU as measured, else from a table.

  None where the kind of device is not known.
  """
  device = jax.devices()[0]
  if device.platform == "cpu":
    return _measure() / jax.local_device_count()
  return peak_of(device.device_kind)


def peak_of(device_kind: str) -> float | None:
  """Returns the same of a kind of accelerator."""
  for kind, peak in _PEAKS.items():
    if device_kind.startswith(kind):
      return peak
  return None


def _measure(width=1024, times=5):
  x = jnp.ones([width, width])
  matmul = jax.jit(jnp.matmul)
  matmul(x, x).block_until_ready()
  best = float("inf")
  for _ in range(times):
    start = time.perf_counter()
    matmul(x, x).block_until_ready()
    best = min(best, time.perf_counter() - start)
  return 2 * width**3 / best
