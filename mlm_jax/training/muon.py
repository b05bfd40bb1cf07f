"""Muon: the matrices of the blocks by orthogonal updates, the rest by AdamW.

Jordan et al. 2024, with the scale of Liu et al. 2025 ("Muon is Scalable for LLM
Training"): an update of a matrix has the root mean square of one of AdamW's, so
that one learning rate and one weight decay serve all parameters.
"""

import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from mlm_jax.config import OptimConfig
from mlm_jax.models import axes
from mlm_jax.training.groups import name_of
from mlm_jax.training.optimizers import (
  decays,
  fuse_matrices,
  split_matrices,
  takes,
  unzip,
)

# Coefficients of the quintic iteration.
_COEFFICIENTS = 3.4445, -4.7750, 2.0315
_ITERATIONS = 5
# The root mean square of AdamW's updates.
_ADAMW_RMS = 0.2


class MuonState(NamedTuple):
  """The moments of all parameters.

  Attributes:
    count: updates so far.
    mu: the momentum of each matrix, and Adam's first moment of the others.
    nu: Adam's second moment, 0 for matrices.
  """

  count: jax.Array
  mu: Any
  nu: Any


@takes("b1", "b2", "momentum", "eps")
def muon(
  optim: OptimConfig, learning_rate: jax.Array
) -> optax.GradientTransformation:
  """Returns Muon, with Nesterov momentum; see the top of this file.

  Queries, keys and values, or a gate and its input, are matrices of their own.
  """

  def init(params):
    is_box = lambda x: isinstance(x, nn.meta.AxisMetadata)
    zeros = lambda param: jax.tree.map(jnp.zeros_like, param)

    def second(path, param):
      return jnp.zeros([]) if _is_matrix(path) else zeros(param)

    return MuonState(
      jnp.zeros([], jnp.int32),
      zeros(params),
      jax.tree.map_with_path(second, params, is_leaf=is_box),
    )

  def update(grads, state, params):
    count = state.count + 1

    def one(path, grad, mu, nu, param, decays):
      if _is_matrix(path):
        mu = optim.momentum * mu + grad
        step = _orthogonal(path, optim.momentum * mu + grad)
      else:
        mu = optim.b1 * mu + (1 - optim.b1) * grad
        nu = optim.b2 * nu + (1 - optim.b2) * grad**2
        mean = mu / (1 - optim.b1**count)
        step = mean / (jnp.sqrt(nu / (1 - optim.b2**count)) + optim.eps)
      if decays:
        step += optim.decay_per_rate * param
      return -learning_rate * step, mu, nu

    found = jax.tree.map_with_path(
      one, grads, state.mu, state.nu, params, decays(params)
    )
    updates, mu, nu = unzip(found, 3)
    return updates, MuonState(count, mu, nu)

  return optax.GradientTransformation(init, update)


def orthogonalize(matrix: jax.Array) -> jax.Array:
  """Returns a matrix with the same singular vectors, and values near 1.

  The Newton-Schulz iteration of Jordan et al. 2024 brings singular values that
  are not tiny to between 0.7 and 1.2.
  """
  is_tall = matrix.shape[0] > matrix.shape[1]
  x = matrix.T if is_tall else matrix
  x = x / (jnp.linalg.norm(x) + 1e-7)
  a, b, c = _COEFFICIENTS
  for _ in range(_ITERATIONS):
    gram = x @ x.T
    x = a * x + (b * gram + c * gram @ gram) @ x
  return x.T if is_tall else x


def _orthogonal(path, array: jax.Array) -> jax.Array:
  """Returns the update of a kernel, each of its matrices for itself."""
  updates = []
  for matrix in split_matrices(path, array):
    scale = _ADAMW_RMS * math.sqrt(max(matrix.shape))
    updates.append(scale * orthogonalize(matrix))
  return fuse_matrices(path, updates, array)


def _is_matrix(path) -> bool:
  return axes.is_in_block(name_of(path))
