"""The parts of a block. Parameters name their axes; training shards by name."""

import functools
import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax.config import EncoderConfig
from mlm_jax.models.attention import attention
from mlm_jax.models.platform import platform
from mlm_jax.models.positions import alibi_slopes, rotate


def _gelu(x):
  # jax.nn's is by erfc, which takes an exponential more.
  x_f32 = x.astype(jnp.float32)
  return (0.5 * x_f32 * (1 + jax.lax.erf(x_f32 * 2**-0.5))).astype(x.dtype)


_ACTIVATIONS = {
  "gelu": _gelu,
  "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
  "silu": jax.nn.silu,
  "relu": jax.nn.relu,
}


def compute_dtype(config: EncoderConfig):
  """Returns what matmuls are computed in. On CPU bfloat16 is the slower one."""
  if config.dtype == "auto":
    return jnp.float32 if platform() == "cpu" else jnp.bfloat16
  return jnp.dtype(config.dtype)


def activation(config: EncoderConfig):
  return _ACTIVATIONS[config.activation]


def init_table(config: EncoderConfig, axes: Sequence[str | None]):
  """Returns the initialiser of tables with these logical axes."""
  return _init(config.init_stddev or 1.0, axes)


def _init(stddev, axes):
  # As BERT does.
  init = nn.initializers.truncated_normal(stddev)
  return nn.with_logical_partitioning(init, axes)


class Dense(nn.Module):
  """A matmul over the last axes of its input, and a bias.

  Attributes:
    config: gives the initialiser and the dtype.
    shape: of the kernel, input axes first.
    axes: the kernel's logical axes.
    use_bias: is there one?
    inputs: how many axes are contracted.
    residual: is the result added to the residual stream?
  """

  config: EncoderConfig
  shape: Sequence[int]
  axes: Sequence[str | None]
  use_bias: bool = True
  inputs: int = 1
  residual: bool = False

  @nn.compact
  def __call__(self, x):
    config, dtype = self.config, compute_dtype(self.config)
    stddev = config.init_stddev
    stddev = stddev or math.prod(self.shape[: self.inputs]) ** -0.5
    if self.residual and config.scale_residual_init:
      stddev /= math.sqrt(2 * config.num_layers)
    kernel = self.param("kernel", _init(stddev, self.axes), self.shape)
    x = _contract(x.astype(dtype), kernel.astype(dtype), self.inputs)
    if not self.use_bias:
      return x
    zeros = nn.with_logical_partitioning(
      nn.initializers.zeros_init(), self.axes[self.inputs :]
    )
    bias = self.param("bias", zeros, self.shape[self.inputs :])
    return x + bias.astype(dtype)


def _contract(x, kernel, axes):
  if platform() != "cpu":
    return jnp.tensordot(x, kernel, axes)
  # Of matrices, XLA's CPU compiler folds transposes into the products: with more
  # axes it copies kernels and their gradients, a seventh of a step.
  shape = x.shape[:-axes] + kernel.shape[axes:]
  inner = math.prod(kernel.shape[:axes])
  return (x.reshape(-1, inner) @ kernel.reshape(inner, -1)).reshape(shape)


def norm(config: EncoderConfig, **kw) -> nn.LayerNorm | nn.RMSNorm:
  """Returns a LayerNorm (Ba et al. 2016) or RMSNorm, statistics in float32."""
  one = nn.with_logical_partitioning(nn.initializers.ones_init(), ("norm",))
  zero = nn.with_logical_partitioning(nn.initializers.zeros_init(), ("norm",))
  kw |= {
    "epsilon": config.norm_eps,
    "dtype": compute_dtype(config),
    "scale_init": one,
  }
  if config.norm_kind == "rms":
    return nn.RMSNorm(**kw)
  return nn.LayerNorm(use_bias=config.norm_bias, bias_init=zero, **kw)


class Dropout(nn.Module):
  """Zeroes numbers at random, and scales up the others (Srivastava et al. 2014).

  Attributes:
    rate: the share that is zeroed.
  """

  rate: float

  @nn.compact
  def __call__(self, x_BLD: jax.Array, deterministic: bool) -> jax.Array:
    if deterministic or not self.rate:
      return x_BLD
    bits_BLD = _hashed(self.make_rng("dropout"), x_BLD.shape)
    kept_BLD = bits_BLD >= np.uint32(round(self.rate * 2**32))
    return jnp.where(kept_BLD, x_BLD / (1 - self.rate), 0)


def _hashed(key, shape):
  """Returns random uint32, a function of the key and of each one's place.

  Ten operations make each of them, and fuse with what they are for. JAX's threefry
  takes a hundred, which cost 4% of a step on TPUs; the generator of TPUs makes
  those of all devices on each (both as compiled for v5e).
  """
  places = [
    jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    for axis in range(len(shape))
  ]
  first, second = jax.random.key_data(key)[-2:]
  row = _mix(places[0] ^ first)
  return _mix(row + second + places[1] * np.uint32(shape[-1]) + places[2])


def _mix(x):
  """Returns uint32 of which each bit depends on all of x (Wellons 2018)."""
  for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
    x = (x ^ x >> shift) * np.uint32(factor)
  return x ^ x >> 16


class SelfAttention(nn.Module):
  """Multi-head attention within documents; one matmul makes q, k and v.

  Attributes:
    config: the encoder's.
    local: does it see `config.window` tokens, or the whole document?
  """

  config: EncoderConfig
  local: bool = False

  @nn.compact
  def __call__(self, x_BLD, positions_BL, seen):
    config = self.config
    # By group: its queries, then the key and the value that they share. So a
    # mesh that splits the groups splits all three alike.
    shared = config.num_heads // config.kv_heads
    qkv_BLGRK = Dense(
      config,
      (config.width, config.kv_heads, shared + 2, config.head_width),
      ("embed", "heads", None, "kv"),
      use_bias=config.attention_bias,
      name="qkv",
    )(x_BLD)
    # The gradient of a split is one concatenation, that of slices is padded sums.
    q_BLGRK, k_BLG1K, v_BLG1K = jax.lax.split(qkv_BLGRK, (shared, 1, 1), axis=3)
    q_BLHK = q_BLGRK.reshape(*x_BLD.shape[:2], -1, config.head_width)
    k_BLGK, v_BLGK = k_BLG1K.squeeze(3), v_BLG1K.squeeze(3)
    slopes_H = None
    if config.position_kind == "rope":
      theta = config.local_rope_theta if self.local else config.rope_theta
      q_BLHK = rotate(q_BLHK, positions_BL, theta)
      k_BLGK = rotate(k_BLGK, positions_BL, theta)
    elif config.position_kind == "alibi":
      slopes_H = alibi_slopes(config.num_heads)
    x_BLHK = attention(
      q_BLHK,
      k_BLGK,
      v_BLGK,
      **seen,
      window=config.window if self.local else 0,
      slopes_H=slopes_H,
      impl=config.attention,
    )
    return _output(config)(x_BLHK)


class CrossAttention(nn.Module):
  """Attention of a decoder's tokens to their document's in the encoder.

  Attributes:
    config: the encoder's.
  """

  config: EncoderConfig

  @nn.compact
  def __call__(self, x_BPD, encoded_BLD, seen):
    config = self.config
    dense = functools.partial(Dense, config, use_bias=config.attention_bias)
    q_BPHK = dense(
      (config.width, config.num_heads, config.head_width),
      ("embed", "heads", "kv"),
      name="q",
    )(x_BPD)
    kv_BLG2K = dense(
      (config.width, config.kv_heads, 2, config.head_width),
      ("embed", "heads", None, "kv"),
      name="kv",
    )(encoded_BLD)
    k_BLG1K, v_BLG1K = jax.lax.split(kv_BLG2K, (1, 1), axis=3)
    x_BPHK = attention(
      q_BPHK,
      k_BLG1K.squeeze(3),
      v_BLG1K.squeeze(3),
      **seen,
      impl=config.attention,
    )
    return _output(config)(x_BPHK)


def _output(config):
  """Returns the layer that adds up what the heads have found."""
  return Dense(
    config,
    (config.num_heads, config.head_width, config.width),
    ("heads", "kv", "embed"),
    use_bias=config.attention_bias,
    inputs=2,
    residual=True,
    name="out",
  )


class FeedForward(nn.Module):
  """Two dense layers with the activation, which may gate, between them."""

  config: EncoderConfig

  @nn.compact
  def __call__(self, x_BLD):
    config = self.config
    act = activation(config)
    shape, axes = (config.width, config.mlp_width), ("embed", "mlp")
    if config.glu:
      shape, axes = (shape[0], 2, shape[1]), (axes[0], None, axes[1])
    use_bias = config.mlp_bias == "all"
    x = Dense(config, shape, axes, use_bias=use_bias, name="in")(x_BLD)
    if config.glu:
      gate_BL1F, x_BL1F = jax.lax.split(x, (1, 1), axis=2)
      x_BLF = (act(gate_BL1F) * x_BL1F).squeeze(2)
    else:
      x_BLF = act(x)
    return Dense(
      config,
      (config.mlp_width, config.width),
      ("mlp", "embed"),
      use_bias=config.mlp_bias != "none",
      residual=True,
      name="out",
    )(x_BLF)
