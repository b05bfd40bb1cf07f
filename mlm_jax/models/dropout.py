"""Dropout, with random numbers that are cheap on every platform."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class Dropout(nn.Module):
  """Zeroes elements at random and scales up the rest (Srivastava et al. 2014).

  Attributes:
    rate: the expected share of zeroed elements.
  """

  rate: float

  @nn.compact
  def __call__(self, x_BLD: jax.Array, deterministic: bool) -> jax.Array:
    if deterministic or not self.rate:
      return x_BLD
    bits_BLD = _random_bits(self.make_rng("dropout"), x_BLD.shape)
    kept_BLD = bits_BLD >= np.uint32(round(self.rate * 2**32))
    return jnp.where(kept_BLD, x_BLD / (1 - self.rate), 0)


def _random_bits(key, shape):
  """Returns random uint32, each a hash of the key and its own index.

  A hash takes ten operations, which fuse with what uses it. JAX's threefry
  takes a hundred, which cost 4% of a step on TPUs; the hardware generator of
  TPUs makes the numbers of all devices on each of them (both as compiled for
  v5e).
  """
  indices = [
    jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    for axis in range(len(shape))
  ]
  first, second = jax.random.key_data(key)[-2:]
  row = _mix(indices[0] ^ first)
  return _mix(row + second + indices[1] * np.uint32(shape[-1]) + indices[2])


def _mix(x):
  """Returns uint32 whose bits each depend on all of x (Wellons 2018)."""
  for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
    x = (x ^ x >> shift) * np.uint32(factor)
  return x ^ x >> 16
