"""The state of training: what a checkpoint holds."""

from collections.abc import Iterable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from mlm_jax.objectives.base import LossSums


class TrainState(flax.struct.PyTreeNode):
  """All that a run needs to go on as if it had never stopped.

  Attributes:
    step: steps done.
    params: the model's parameters, float32.
    opt_state: optax's.
    window: by term, sums since the last logged step and their weight. They are
      kept here so that a run that is stopped between two log lines still writes
      the same lines.
    tokens_seen: real tokens, as uint32 (high, low): 32 bits are too few.
  """

  step: jax.Array
  params: Any
  opt_state: optax.OptState
  window: LossSums
  tokens_seen: jax.Array


def init_state(
  params, optimizer: optax.GradientTransformation, terms: Iterable[str]
) -> TrainState:
  zeros = lambda: {k: jnp.zeros([]) for k in ("loss", "accuracy", "weight")}
  return TrainState(
    step=jnp.zeros([], jnp.int32),
    params=params,
    opt_state=optimizer.init(params),
    window={term: zeros() for term in terms},
    tokens_seen=jnp.zeros([2], jnp.uint32),
  )
