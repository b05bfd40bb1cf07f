"""Optimizers: gradients to updates.

An optimizer is an entry of `registry.OPTIMIZERS`: it takes the optimizer's keys
and a learning rate, a number, and returns an optax transformation. If that has
a `training_params`, gradients are taken at what it returns.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from mlm_jax import registry
from mlm_jax.config import OptimConfig
from mlm_jax.config.optim import GROUPS
from mlm_jax.models import axes
from mlm_jax.training import groups
from mlm_jax.training.groups import name_of

# Parameters of these names are norms and biases, which do not decay.
_NOT_DECAYED = ("bias", "scale")


class ScheduledState(NamedTuple):
  """The state of an optimizer whose learning rate follows a schedule.

  Attributes:
    learning_rate: the rate of the last update, for the metrics.
    inner: the optimizer's own.
  """

  learning_rate: jax.Array
  inner: optax.OptState


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """The optimizer called `optim.name`, by a schedule of its learning rate.

  Attributes:
    optim: its keys.
    schedule: place -> learning rate; see `schedules.of_phase`.
  """

  optim: OptimConfig
  schedule: optax.Schedule

  def init(self, params: Any) -> ScheduledState:
    """Returns the state before the first update.

    Raises:
      InputError: a group of parameters has none.
    """
    groups.rate_factors(nn.unbox(params), self.optim)
    return ScheduledState(jnp.zeros([]), self._at(0.0).init(params))

  def update(
    self, grads: Any, state: ScheduledState, params: Any, *, place: jax.Array
  ) -> tuple[Any, ScheduledState]:
    """Returns what to add to the parameters, and the next state.

    Args:
      grads: taken at `training_params`.
      state: of the update before.
      params: the parameters.
      place: where the schedule is evaluated, in steps of the run or hours.
    """
    rate = jnp.asarray(self.schedule(place), jnp.float32)
    updates, inner = self._at(rate).update(grads, state.inner, params)
    updates = groups.scale(updates, params, self.optim)
    return updates, ScheduledState(rate, inner)

  def training_params(self, params: Any, state: ScheduledState) -> Any:
    """Returns the parameters at which gradients are taken."""
    function = getattr(self._at(0.0), "training_params", None)
    return function(params, state.inner) if function else params

  def _at(self, rate) -> optax.GradientTransformation:
    return registry.OPTIMIZERS[self.optim.name](self.optim, rate)


def takes(*options: str, groups: bool = True):
  """Declares which options an optimizer has: keys of `optim.*`.

  The configuration refuses others of b1, b2, momentum, eps and, unless `groups`
  holds, those of groups of parameters.
  """

  def declare(optimizer):
    optimizer.options = (*options, *(GROUPS if groups else ()))
    return optimizer

  return declare


@takes("b1", "b2", "eps")
def adamw(
  optim: OptimConfig, learning_rate: jax.Array
) -> optax.GradientTransformation:
  """Returns Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""
  return optax.adamw(
    learning_rate,
    b1=optim.b1,
    b2=optim.b2,
    eps=optim.eps,
    weight_decay=optim.decay_per_rate,
    mask=decays,
  )


@takes("b1", "b2", "eps")
def stable_adamw(
  optim: OptimConfig, learning_rate: jax.Array
) -> optax.GradientTransformation:
  """Returns AdamW that clips the update of each tensor (Wortsman et al. 2023).

  The learning rate of a tensor is divided by the root mean square of its
  gradient over Adam's denominator, where that is more than 1.
  """
  adam = optax.scale_by_adam(optim.b1, optim.b2, optim.eps)
  decay = optax.add_decayed_weights(optim.decay_per_rate, decays)

  def update(grads, state, params):
    updates, state = adam.update(grads, state, params)
    updates, _ = decay.update(updates, decay.init(params), params)
    correction = 1 - optim.b2**state.count

    def clip(path, update, grad, nu):
      variances = jnp.maximum(nu / correction, optim.eps**2)
      ratios = _split(path, grad**2 / variances)
      return _scale(
        path, update, [1 / jnp.maximum(1, jnp.sqrt(r.mean())) for r in ratios]
      )

    return jax.tree.map_with_path(clip, updates, grads, state.nu), state

  return optax.chain(
    optax.GradientTransformation(adam.init, update),
    optax.scale_by_learning_rate(learning_rate),
  )


@takes("b1", "b2", "eps")
def lamb(
  optim: OptimConfig, learning_rate: jax.Array
) -> optax.GradientTransformation:
  """Returns LAMB: Adam with a trust ratio per tensor (You et al. 2020).

  Each update is scaled to the norm of its tensor, but for norms and biases, as
  in the authors' code.
  """

  def adapt(updates, state, params):
    def scale(path, update, param, is_adapted):
      if not is_adapted:
        return update
      pairs = zip(_split(path, param), _split(path, update), strict=True)
      return _scale(path, update, [_trust_ratio(*pair) for pair in pairs])

    return jax.tree.map_with_path(scale, updates, params, decays(params)), state

  return optax.chain(
    optax.scale_by_adam(optim.b1, optim.b2, optim.eps),
    optax.add_decayed_weights(optim.decay_per_rate, decays),
    optax.GradientTransformation(optax.identity().init, adapt),
    optax.scale_by_learning_rate(learning_rate),
  )


def _trust_ratio(param, update):
  norms = jnp.linalg.norm(param.ravel()), jnp.linalg.norm(update.ravel())
  both = (norms[0] > 0) & (norms[1] > 0)
  return jnp.where(both, norms[0] / jnp.where(both, norms[1], 1), 1)


@takes("b1", "b2")
def lion(
  optim: OptimConfig, learning_rate: jax.Array
) -> optax.GradientTransformation:
  """Returns Lion, the sign of a momentum (Chen et al. 2023)."""
  return optax.lion(
    learning_rate,
    b1=optim.b1,
    b2=optim.b2,
    weight_decay=optim.decay_per_rate,
    mask=decays,
  )


def decays(params):
  """Returns, for each parameter, whether weight decay applies to it."""

  def one(path, _):
    return not set(name_of(path).split("/")).intersection(_NOT_DECAYED)

  return jax.tree.map_with_path(one, params)


def _split(path, array) -> list[jax.Array]:
  """Returns the tensors fused in an array: q, k, v, or gate and input."""
  try:
    return axes.split(name_of(path), array)
  except ValueError:  # A parameter of a model from a recipe file.
    return [array]


def _scale(path, array, factors):
  """Returns an array whose fused tensors are multiplied by their factors."""
  parts = zip(_split(path, array), factors, strict=True)
  return axes.fuse(name_of(path), [part * factor for part, factor in parts])


def unzip(tree, count: int) -> list:
  """Returns `count` trees, given one whose leaves are tuples of so many."""
  is_tuple = lambda x: isinstance(x, tuple)
  return [
    jax.tree.map(lambda leaf, i=i: leaf[i], tree, is_leaf=is_tuple)
    for i in range(count)
  ]


def split_matrices(path, array) -> list[jax.Array]:
  """Returns the tensors fused in an array, a kernel's as [inputs, outputs]."""
  parts, num_inputs = _split(path, array), axes.num_inputs(name_of(path))
  if not num_inputs:
    return parts
  size = math.prod(array.shape[:num_inputs])
  return [part.reshape(size, -1) for part in parts]


def fuse_matrices(path, matrices, like) -> jax.Array:
  """Reverses `split_matrices`: returns an array shaped as `like`."""
  parts = zip(matrices, _split(path, like), strict=True)
  return axes.fuse(
    name_of(path), [matrix.reshape(part.shape) for matrix, part in parts]
  )
