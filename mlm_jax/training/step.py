"""The training step: a pure function of state and batch."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from mlm_jax.config import Config
from mlm_jax.objectives.base import Sums, means
from mlm_jax.training.state import TrainState, add_to_counter


def train_step(
  state: TrainState,
  batch: dict[str, jax.Array],
  *,
  config: Config,
  weights: Callable[[dict[str, jax.Array]], dict[str, jax.Array]],
  sums: Callable[..., Sums],
  terms: Mapping[str, float],
  optimizer: optax.GradientTransformationExtraArgs,
  pad_id: int,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """Returns the next state, and the metrics since the last logged step.

  The gradient is that of the mean loss over all targets of the batch, however
  unequally they lie on micro-batches, devices and hosts.

  Args:
    state: to go on from.
    batch: the rows of the step.
    config: the run.
    weights: batch -> what each term's sums are to be divided by.
    sums: params, batch, key -> the sums of each term.
    terms: what each counts for.
    optimizer: turns gradients into updates.
    pad_id: what is no token.
  """
  key = jax.random.fold_in(jax.random.key(config.seed), state.step)
  whole = weights(batch)

  @functools.partial(jax.grad, has_aux=True)
  def gradient(params, part, key):
    new = sums(params, part, key)
    # Weights are known before the losses: no sum of gradients is divided.
    loss = sum(
      share * new[term]["loss"] / jnp.maximum(whole[term], 1)
      for term, share in terms.items()
    )
    return loss, new

  parts = config.train.microbatches
  grads, new = added_up(gradient, state.params, batch, parts, key)
  new = {term: {**new[term], "weight": whole[term]} for term in terms}
  updates, opt_state = optimizer.update(
    grads, state.opt_state, state.params, step=state.step
  )

  fresh = state.step % config.train.log_every == 0
  metric_sums = jax.tree.map(
    lambda old, add: jnp.where(fresh, 0, old) + add, state.metric_sums, new
  )
  # As floats, which count exactly so far, they are added up with the weights.
  exact = jnp.float32 if batch["input_ids"].size <= 1 << 24 else jnp.int32
  tokens = jnp.sum(batch["input_ids"] != pad_id, dtype=exact)
  tokens_seen = add_to_counter(state.tokens_seen, tokens)
  metrics = {
    **means(metric_sums, terms),
    "tokens_seen": tokens_seen,
    "learning_rate": opt_state.learning_rate,
    "grad_norm": optax.global_norm(grads),
  }
  state = state.replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    opt_state=opt_state,
    metric_sums=metric_sums,
    tokens_seen=tokens_seen,
    rows_seen=add_to_counter(state.rows_seen, len(batch["input_ids"])),
  )
  return state, metrics


def added_up(function, params, batch, microbatches: int, key: jax.Array):
  """Returns what a function of params, batch and key does, added up over parts.

  One part at a time is in memory; each has a key of its own.
  """
  if microbatches == 1:
    return function(params, batch, key)
  # Every n-th row goes to the same part: each device keeps its own rows.
  parts = jax.tree.map(
    lambda x: x.reshape(-1, microbatches, *x.shape[1:]).swapaxes(0, 1), batch
  )

  def add(total, indexed):
    index, part = indexed
    new = function(params, part, jax.random.fold_in(key, index))
    return jax.tree.map(jnp.add, total, new), None

  first = jax.tree.map(lambda x: x[0], parts)
  shapes = jax.eval_shape(function, params, first, key)
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  return jax.lax.scan(add, zeros, (jnp.arange(microbatches), parts))[0]
