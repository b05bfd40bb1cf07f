"""The layers of a block, and what they are made of."""

import dataclasses
import functools
import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlm_jax.config import EncoderConfig
from mlm_jax.models.attention import AttentionMask, attention
from mlm_jax.models.axes import axis_sizes, logical_axes
from mlm_jax.models.dropout import Dropout
from mlm_jax.models.platform import platform
from mlm_jax.models.positions import alibi_slopes, rotate


def _gelu(x):
  # jax.nn.gelu is computed by erfc, which takes one more exponential.
  x_f32 = x.astype(jnp.float32)
  return (0.5 * x_f32 * (1 + jax.lax.erf(x_f32 * 2**-0.5))).astype(x.dtype)


_ACTIVATIONS = {
  "gelu": _gelu,
  "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
  "silu": jax.nn.silu,
  "relu": jax.nn.relu,
}


def compute_dtype(config: EncoderConfig):
  """Returns the dtype of matmuls; on CPU, bfloat16 is slower than float32."""
  if config.dtype == "auto":
    return jnp.float32 if platform() == "cpu" else jnp.bfloat16
  return jnp.dtype(config.dtype)


def activation(config: EncoderConfig):
  """Returns the activation function."""
  return _ACTIVATIONS[config.activation]


def init_table(
  config: EncoderConfig, axes: Sequence[str | None], stddev: float = 1.0
):
  """Returns the initializer of a table.

  Args:
    config: the encoder's.
    axes: the logical axes of the table.
    stddev: where `init_stddev` is 0.
  """
  return _initializer(config, config.init_stddev or stddev, axes)


def _initializer(config: EncoderConfig, stddev: float, axes):
  make = {
    "truncated_normal": nn.initializers.truncated_normal,
    "normal": nn.initializers.normal,
    "uniform": _uniform,
  }[config.init_distribution]
  return nn.with_logical_partitioning(make(stddev), axes)


def _uniform(stddev: float):
  bound = math.sqrt(3) * stddev

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


class Dense(nn.Module):
  """A matmul over the last axes of its input, and a bias.

  Attributes:
    config: gives the sizes of output axes, the initializer and the dtype.
    axes: of the kernel, in the notation of `axes.KERNELS`.
    use_bias: whether there is a bias.
    residual: whether the output is added to the residual stream.
  """

  config: EncoderConfig
  axes: str
  use_bias: bool = True
  residual: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    config, dtype = self.config, compute_dtype(self.config)
    inputs, outputs = self.axes.split("->")
    in_shape = x.shape[-len(inputs) :]
    sizes = axis_sizes(config)
    out_shape = tuple(sizes[letter] for letter in outputs)
    names = logical_axes(inputs + outputs)
    stddev = config.init_stddev or math.prod(in_shape) ** -0.5
    if self.residual and config.scale_residual_init:
      stddev /= math.sqrt(2 * config.num_layers)
    init = _initializer(config, stddev, names)
    kernel = self.param("kernel", init, in_shape + out_shape)
    x = _contract(x.astype(dtype), kernel.astype(dtype), len(inputs))
    if not self.use_bias:
      return x
    zeros = nn.with_logical_partitioning(
      nn.initializers.zeros_init(), names[len(inputs) :]
    )
    return x + self.param("bias", zeros, out_shape).astype(dtype)


def _contract(x, kernel, num_axes):
  if platform() != "cpu":
    return jnp.tensordot(x, kernel, num_axes)
  # XLA's CPU compiler folds transposes into products of matrices. With more
  # axes it copies kernels and their gradients, which took a seventh of a step.
  shape = x.shape[:-num_axes] + kernel.shape[num_axes:]
  inner = math.prod(kernel.shape[:num_axes])
  return (x.reshape(-1, inner) @ kernel.reshape(inner, -1)).reshape(shape)


def norm(config: EncoderConfig, **kw) -> nn.LayerNorm | nn.RMSNorm:
  """Returns a LayerNorm (Ba et al. 2016) or RMSNorm, statistics in float32.

  Args:
    config: the encoder's.
    **kw: arguments of the module, such as its name.
  """
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


class SelfAttention(nn.Module):
  """Multi-head attention within documents; one matmul makes q, k and v.

  Attributes:
    config: the encoder's.
    local: whether tokens attend to a window of `config.window` tokens rather
      than to the whole document.
  """

  config: EncoderConfig
  local: bool = False

  @nn.compact
  def __call__(
    self, x_BLD: jax.Array, positions_BL: jax.Array, mask: AttentionMask
  ) -> jax.Array:
    config = self.config
    # By group: its queries, then the key and the value that they share. So a
    # mesh that shards the groups shards all three alike.
    qkv_BLGTK = Dense(
      config, "D->GTK", use_bias=config.attention_bias, name="qkv"
    )(x_BLD)
    # The gradient of a split is one concatenation, that of slices is padded
    # sums.
    sizes = config.num_heads // config.kv_heads, 1, 1
    q_BLGRK, k_BLG1K, v_BLG1K = jax.lax.split(qkv_BLGTK, sizes, axis=3)
    q_BLHK = q_BLGRK.reshape(*x_BLD.shape[:2], -1, config.head_width)
    k_BLGK, v_BLGK = k_BLG1K.squeeze(3), v_BLG1K.squeeze(3)
    if config.position_kind == "rope":
      theta = config.local_rope_theta if self.local else config.rope_theta
      q_BLHK = rotate(q_BLHK, positions_BL, theta)
      k_BLGK = rotate(k_BLGK, positions_BL, theta)
    elif config.position_kind == "alibi":
      slopes_H = alibi_slopes(config.num_heads)
      mask = dataclasses.replace(mask, slopes_H=slopes_H)
    if self.local:
      mask = dataclasses.replace(mask, window=config.window)
    x_BLHK = attention(q_BLHK, k_BLGK, v_BLGK, mask, config.attention)
    return _output(config)(x_BLHK)


class CrossAttention(nn.Module):
  """Attention of a decoder's tokens to the encoder's output.

  Attributes:
    config: the encoder's.
  """

  config: EncoderConfig

  @nn.compact
  def __call__(
    self, x_BLD: jax.Array, encoded_BMD: jax.Array, mask: AttentionMask
  ) -> jax.Array:
    config = self.config
    dense = functools.partial(Dense, config, use_bias=config.attention_bias)
    q_BLHK = dense("D->HK", name="q")(x_BLD)
    kv_BMG2K = dense("D->G2K", name="kv")(encoded_BMD)
    k_BMG1K, v_BMG1K = jax.lax.split(kv_BMG2K, (1, 1), axis=3)
    k_BMGK, v_BMGK = k_BMG1K.squeeze(3), v_BMG1K.squeeze(3)
    x_BLHK = attention(q_BLHK, k_BMGK, v_BMGK, mask, config.attention)
    return _output(config)(x_BLHK)


def _output(config):
  """Returns the projection of all heads' outputs."""
  return Dense(
    config,
    "HK->D",
    use_bias=config.attention_bias,
    residual=True,
    name="out",
  )


class FeedForward(nn.Module):
  """The MLP of a block: two dense layers, the first of which may be gated.

  With gates, `mlp_dropout` is that of the hidden layer, as in MosaicBERT and
  ModernBERT; without, the block has it after the MLP.

  Attributes:
    config: the encoder's.
  """

  config: EncoderConfig

  @nn.compact
  def __call__(self, x_BLD: jax.Array, deterministic: bool) -> jax.Array:
    config = self.config
    act = activation(config)
    axes = "D->2F" if config.glu else "D->F"
    has_bias = config.mlp_bias == "all"
    x = Dense(config, axes, use_bias=has_bias, name="in")(x_BLD)
    if config.glu:
      gate_BL1F, x_BL1F = jax.lax.split(x, (1, 1), axis=2)
      x_BLF = (act(gate_BL1F) * x_BL1F).squeeze(2)
      x_BLF = Dropout(config.mlp_dropout)(x_BLF, deterministic)
    else:
      x_BLF = act(x)
    has_bias = config.mlp_bias != "none"
    return Dense(config, "F->D", use_bias=has_bias, residual=True, name="out")(
      x_BLF
    )
