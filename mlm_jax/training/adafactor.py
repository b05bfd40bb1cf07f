"""Adafactor: second moments of rows and columns (Shazeer and Stern 2018)."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from mlm_jax.config import OptimConfig
from mlm_jax.training.optimizers import (
  decays,
  fuse_matrices,
  split_matrices,
  takes,
  unzip,
)

# A matrix with a shorter side keeps all of its second moments, as in T5X.
_LEAST_FACTORED = 128
# The second moments' decay rate is 1 - step^-0.8.
_DECAY_POWER = 0.8
_EPS_SQUARE = 1e-30
# The least root mean square of a tensor by which its rate is scaled.
_EPS_SCALE = 1e-3


class AdafactorState(NamedTuple):
  """Second moments.

  Attributes:
    count: updates so far.
    moments: of each parameter, a list of those of its tensors: a pair for rows
      and columns, or one array. Being small, they are on all devices.
  """

  count: jax.Array
  moments: Any


@takes()
def adafactor(
  optim: OptimConfig, learning_rate: jax.Array
) -> optax.GradientTransformation:
  """Returns Adafactor without momentum.

  The learning rate is relative: a tensor's is multiplied by its root mean
  square. Updates of a root mean square over 1 are clipped to it.
  """

  def init(params):
    def moments(path, param):
      return [_zeros(matrix) for matrix in split_matrices(path, param)]

    return AdafactorState(
      jnp.zeros([], jnp.int32),
      jax.tree.map_with_path(moments, nn.unbox(params)),
    )

  def update(grads, state, params):
    count = state.count + 1
    b2 = 1 - count.astype(jnp.float32) ** -_DECAY_POWER

    def one(path, grad, moments, param, decays):
      found, updates = [], []
      grads, params = split_matrices(path, grad), split_matrices(path, param)
      for g, moment, p in zip(grads, moments, params, strict=True):
        moment, variance = _second_moment(moment, g, b2)
        step = g * jax.lax.rsqrt(variance)
        step /= jnp.maximum(1, _rms(step))
        step *= jnp.maximum(_EPS_SCALE, _rms(p))
        if decays:
          step += optim.decay_per_rate * p
        updates.append(-learning_rate * step)
        found.append(moment)
      return fuse_matrices(path, updates, grad), found

    both = jax.tree.map_with_path(
      one, grads, state.moments, params, decays(params)
    )
    updates, moments = unzip(both, 2)
    return updates, AdafactorState(count, moments)

  return optax.GradientTransformation(init, update)


def _zeros(matrix: jax.Array):
  if matrix.ndim == 2 and min(matrix.shape) >= _LEAST_FACTORED:
    return [jnp.zeros(size, matrix.dtype) for size in matrix.shape]
  return jnp.zeros_like(matrix)


def _second_moment(moment, grad, b2):
  """Returns the new moments, and the second moment of each gradient."""
  square = grad**2 + _EPS_SQUARE
  if not isinstance(moment, list):
    moment = b2 * moment + (1 - b2) * square
    return moment, moment
  rows, columns = (
    b2 * old + (1 - b2) * square.mean(axis)
    for old, axis in zip(moment, (1, 0), strict=True)
  )
  return [rows, columns], jnp.outer(rows / rows.mean(), columns)


def _rms(x):
  return jnp.sqrt(jnp.mean(x**2))
