"""The parts of a block. Parameters name their axes; training shards by name."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlm_jax.config import EncoderConfig
from mlm_jax.models.attention import attention

_ACTIVATIONS = {
  "gelu": functools.partial(jax.nn.gelu, approximate=False),
  "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True),
}


def compute_dtype(config: EncoderConfig):
  """Returns what matmuls are computed in. On CPU bfloat16 is the slower one."""
  if config.dtype == "auto":
    on_cpu = jax.default_backend() == "cpu"
    return jnp.float32 if on_cpu else jnp.bfloat16
  return jnp.dtype(config.dtype)


def activation(config: EncoderConfig):
  return _ACTIVATIONS[config.activation]


def init_table(config: EncoderConfig, axes: Sequence[str | None]):
  """Returns BERT's initialiser, for parameters with these logical axes."""
  init = nn.initializers.truncated_normal(config.init_stddev)
  return nn.with_logical_partitioning(init, axes)


class Dense(nn.Module):
  """A matmul over the last axes of its input, and a bias.

  Attributes:
    config: gives the initialiser and the dtype.
    shape: of the kernel, input axes first.
    axes: the kernel's logical axes.
    inputs: how many axes are contracted.
  """

  config: EncoderConfig
  shape: Sequence[int]
  axes: Sequence[str | None]
  inputs: int = 1

  @nn.compact
  def __call__(self, x):
    dtype = compute_dtype(self.config)
    kernel = self.param(
      "kernel", init_table(self.config, self.axes), self.shape
    )
    bias = self.param(
      "bias",
      nn.with_logical_partitioning(
        nn.initializers.zeros_init(), self.axes[self.inputs :]
      ),
      self.shape[self.inputs :],
    )
    x = jnp.tensordot(x.astype(dtype), kernel.astype(dtype), self.inputs)
    return x + bias.astype(dtype)


def norm(config: EncoderConfig, **kw) -> nn.LayerNorm:
  """Returns a layer norm (Ba et al. 2016), its statistics in float32."""
  return nn.LayerNorm(
    epsilon=config.norm_eps,
    dtype=compute_dtype(config),
    scale_init=nn.with_logical_partitioning(
      nn.initializers.ones_init(), ("norm",)
    ),
    bias_init=nn.with_logical_partitioning(
      nn.initializers.zeros_init(), ("norm",)
    ),
    **kw,
  )


def rotate(
  x_BLHK: jax.Array, positions_BL: jax.Array, theta: float
) -> jax.Array:
  """Returns x with rotary position embeddings (Su et al. 2021), halves paired."""
  half = x_BLHK.shape[-1] // 2
  frequencies = theta ** (-jnp.arange(half) / half)
  angles_BLHK = positions_BL[:, :, None, None] * frequencies
  sin, cos = jnp.sin(angles_BLHK), jnp.cos(angles_BLHK)
  a, b = jnp.split(x_BLHK.astype(jnp.float32), 2, axis=-1)
  rotated = jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)
  return rotated.astype(x_BLHK.dtype)


class SelfAttention(nn.Module):
  """Multi-head attention within documents; one matmul makes q, k and v."""

  config: EncoderConfig

  @nn.compact
  def __call__(self, x_BLD, segment_ids_BL, positions_BL):
    config = self.config
    heads = (config.num_heads, config.head_width)
    qkv = Dense(
      config,
      (config.width, 3, *heads),
      ("embed", None, "heads", "kv"),
      name="qkv",
    )(x_BLD)
    q_BLHK, k_BLHK, v_BLHK = (qkv[:, :, i] for i in range(3))
    if config.position_kind == "rope":
      q_BLHK = rotate(q_BLHK, positions_BL, config.rope_theta)
      k_BLHK = rotate(k_BLHK, positions_BL, config.rope_theta)
    x_BLHK = attention(
      q_BLHK,
      k_BLHK,
      v_BLHK,
      segment_ids_BL=segment_ids_BL,
      impl=config.attention,
    )
    return Dense(
      config,
      (*heads, config.width),
      ("heads", "kv", "embed"),
      inputs=2,
      name="out",
    )(x_BLHK)


class FeedForward(nn.Module):
  """Two dense layers with the activation between them."""

  config: EncoderConfig

  @nn.compact
  def __call__(self, x_BLD):
    config = self.config
    width, mlp_width = config.width, config.mlp_width
    x_BLF = Dense(config, (width, mlp_width), ("embed", "mlp"), name="in")(
      x_BLD
    )
    x_BLF = activation(config)(x_BLF)
    return Dense(config, (mlp_width, width), ("mlp", "embed"), name="out")(
      x_BLF
    )
