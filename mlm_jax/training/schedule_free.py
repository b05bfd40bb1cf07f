"""Schedule-free AdamW: weights are averaged, where other rates would decay.

Defazio et al. 2024, "The Road Less Scheduled".
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mlm_jax.config import OptimConfig
from mlm_jax.training.optimizers import decays, takes


class ScheduleFreeState(NamedTuple):
  """The state between two updates.

  Attributes:
    z: the weights that AdamW updates; the run's are their average.
    max_rate: the largest learning rate so far.
    weight_sum: of the average, to which each z counts by the square of that.
    inner: the second moments of AdamW, which has no first ones.
  """

  z: Any
  max_rate: jax.Array
  weight_sum: jax.Array
  inner: optax.OptState


class ScheduleFree(NamedTuple):
  """An optax transformation that knows where gradients are taken."""

  init: Callable
  update: Callable
  training_params: Callable


@takes("b1", "b2", "eps", groups=False)
def schedule_free_adamw(
  optim: OptimConfig, learning_rate: jax.Array
) -> ScheduleFree:
  """Returns AdamW whose momentum is an average of its own steps.

  Gradients are taken between that average, the run's weights, and the weights
  that AdamW updates; `optim.b1` is the share of the average.
  """
  adam = optax.chain(
    optax.scale_by_rms(
      optim.b2, optim.eps, eps_in_sqrt=False, bias_correction=True
    ),
    optax.add_decayed_weights(optim.decay_per_rate, decays),
    optax.scale_by_learning_rate(learning_rate),
  )

  def init(params):
    # A copy: one array cannot be donated twice.
    z = jax.tree.map(jnp.copy, params)
    return ScheduleFreeState(z, jnp.zeros([]), jnp.zeros([]), adam.init(params))

  def training_params(params, state):
    return _between(state.z, params, optim.b1)

  def update(grads, state, params):
    at = training_params(params, state)
    updates, inner = adam.update(grads, state.inner, at)
    z = optax.apply_updates(state.z, updates)
    max_rate = jnp.maximum(state.max_rate, learning_rate)
    weight = max_rate**2
    total = state.weight_sum + weight
    share = jnp.where(total > 0, weight / jnp.where(total > 0, total, 1), 0)
    updates = jax.tree.map(lambda z, x: share * (z - x), z, params)
    return updates, ScheduleFreeState(z, max_rate, total, inner)

  return ScheduleFree(init, update, training_params)


def _between(first, second, share):
  return jax.tree.map(lambda a, b: (1 - share) * a + share * b, first, second)
