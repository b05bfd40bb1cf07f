"""The state of training: all that a checkpoint holds."""

from collections.abc import Iterable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from mlm_jax.objectives.base import LossSums
from mlm_jax.training.guard import GuardState, init_guard
from mlm_jax.training.optimizers import Optimizer

# Counts up when the state's fields change. A checkpoint of another version is
# refused by name; its parameters can still be read.
FORMAT_VERSION = 4


class TrainState(flax.struct.PyTreeNode):
  """All that a run needs to continue as if it had never stopped.

  Rows and tokens are counted in two uint32, (high, low): 32 bits are too few.

  Attributes:
    step: steps done, in all phases.
    params: the model's parameters, float32.
    opt_state: the optimizer's state.
    averages: a running average of the parameters, None without
      `optim.ema_decay`.
    metric_sums: by term, sums since the last logged step and their weight. They
      are kept here so that a run that is stopped between two logged steps still
      writes the same records.
    tokens_seen: real tokens trained on.
    rows_seen: rows trained on, of all phases.
    hours: those that the phase has taken, as `train.hours` counts them; 0 of a
      phase whose length is in steps or tokens.
    guard: the steps that were skipped, and what spikes are measured by.
  """

  step: jax.Array
  params: Any
  opt_state: optax.OptState
  averages: Any
  metric_sums: LossSums
  tokens_seen: jax.Array
  rows_seen: jax.Array
  hours: jax.Array
  guard: GuardState


def init_state(
  params,
  optimizer: Optimizer,
  terms: Iterable[str],
) -> TrainState:
  """Returns the state at step 0 of a model with these parameters."""
  averages = None
  if optimizer.optim.ema_decay:
    averages = jax.tree.map(jnp.copy, params)
  return TrainState(
    step=jnp.zeros([], jnp.int32),
    params=params,
    opt_state=optimizer.init(params),
    averages=averages,
    metric_sums=zero_sums(terms),
    tokens_seen=jnp.zeros([2], jnp.uint32),
    rows_seen=jnp.zeros([2], jnp.uint32),
    hours=jnp.zeros([]),
    guard=init_guard(),
  )


def zero_sums(terms: Iterable[str]) -> LossSums:
  """Returns the sums of no step."""
  zeros = lambda: {k: jnp.zeros([]) for k in ("loss", "accuracy", "weight")}
  return {term: zeros() for term in terms}


def add_to_counter(counter: jax.Array, count: jax.Array | int) -> jax.Array:
  """Returns a (high, low) counter plus a count below 2^32."""
  low = counter[1] + jnp.asarray(count).astype(jnp.uint32)
  return jnp.stack([counter[0] + (low < counter[1]), low])


def counter_value(counter: jax.Array) -> int:
  """Returns what a (high, low) counter stands at; waits for the device."""
  high, low = (int(n) for n in jax.device_get(counter))
  return (high << 32) + low
