"""The training step: a pure function of state and batch."""

import functools
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from mlm_jax.config import Config

# params, batch, dropout_key -> {"loss": sum, "accuracy": sum, "weight": sum}
Sums = Callable[..., dict[str, jax.Array]]


class TrainState(flax.struct.PyTreeNode):
  """All that a run needs to go on as if it had never stopped.

  Attributes:
    step: steps done.
    params: the model's parameters, float32.
    opt_state: optax's.
    window: sums since the last logged step. They are kept here so that a run
      that is stopped between two log lines still writes the same lines.
    tokens_seen: real tokens, as uint32 (high, low): 32 bits are too few.
  """

  step: jax.Array
  params: Any
  opt_state: optax.OptState
  window: dict[str, jax.Array]
  tokens_seen: jax.Array


def init_state(params, optimizer: optax.GradientTransformation) -> TrainState:
  return TrainState(
    step=jnp.zeros([], jnp.int32),
    params=params,
    opt_state=optimizer.init(params),
    window={k: jnp.zeros([]) for k in ("loss", "accuracy", "weight")},
    tokens_seen=jnp.zeros([2], jnp.uint32),
  )


def train_step(
  state: TrainState,
  batch: dict[str, jax.Array],
  *,
  config: Config,
  sums: Sums,
  optimizer: optax.GradientTransformation,
  schedule: optax.Schedule,
  pad_id: int,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """Returns the next state, and the metrics since the last logged step.

  The gradient is that of the mean loss over all targets of the batch, however
  unequally they lie on micro-batches, devices and hosts.
  """
  key = None
  if config.model.has_dropout:
    key = jax.random.fold_in(jax.random.key(config.seed), state.step)
  grads, new = _gradients(
    sums, state.params, batch, config.train.microbatches, key
  )
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)

  fresh = state.step % config.train.log_every == 0
  window = jax.tree.map(
    lambda old, add: jnp.where(fresh, 0, old) + add, state.window, new
  )
  tokens_seen = _add(state.tokens_seen, jnp.sum(batch["input_ids"] != pad_id))
  metrics = {
    "loss": window["loss"] / jnp.maximum(window["weight"], 1),
    "accuracy": window["accuracy"] / jnp.maximum(window["weight"], 1),
    "tokens_seen": tokens_seen,
    "learning_rate": schedule(state.step),
    "grad_norm": optax.global_norm(grads),
  }
  state = TrainState(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    opt_state=opt_state,
    window=window,
    tokens_seen=tokens_seen,
  )
  return state, metrics


def _gradients(sums, params, batch, microbatches, key):
  """Returns the gradient of the mean loss, and the sums, over all parts."""

  @functools.partial(jax.grad, has_aux=True)
  def gradient(params, part, key):
    new = sums(params, part, key)
    # The weight of one part is known before its gradient: dividing the loss
    # spares a pass over the gradients.
    weight = jnp.maximum(new["weight"], 1) if microbatches == 1 else 1
    return new["loss"] / weight, new

  if microbatches == 1:
    return gradient(params, batch, key)

  # Every n-th row goes to the same part: each device keeps its own rows.
  parts = jax.tree.map(
    lambda x: x.reshape(-1, microbatches, *x.shape[1:]).swapaxes(0, 1), batch
  )

  def add(total, indexed):
    index, part = indexed
    part_key = None if key is None else jax.random.fold_in(key, index)
    return jax.tree.map(jnp.add, total, gradient(params, part, part_key)), None

  first = jax.tree.map(lambda x: x[0], parts)
  shapes = jax.eval_shape(gradient, params, first, key)
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  indexed = jnp.arange(microbatches), parts
  grads, total = jax.lax.scan(add, zeros, indexed)[0]
  weight = jnp.maximum(total["weight"], 1)
  return jax.tree.map(lambda g: g / weight, grads), total


def _add(high_low, count):
  low = high_low[1] + count.astype(jnp.uint32)
  return jnp.stack([high_low[0] + (low < high_low[1]), low])
