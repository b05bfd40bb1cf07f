"""The training step: a pure function of state and batch."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mlm_jax.config import Config
from mlm_jax.objectives.base import Batch, LossSums, Objective
from mlm_jax.training import groups, guard
from mlm_jax.training.optimizers import Optimizer
from mlm_jax.training.state import TrainState, add_to_counter


def train_step(
  state: TrainState,
  batch: Batch,
  *,
  config: Config,
  objective: Objective,
  optimizer: Optimizer,
) -> tuple[TrainState, dict[str, jax.Array]]:
  """Returns the next state, and the metrics since the last logged step.

  The gradient is that of the mean loss over all targets of the batch, however
  unequally they lie on micro-batches, devices and hosts. `guard` says whether
  its update is applied; metrics are of the steps that were.

  Args:
    state: to go on from.
    batch: the rows of the step.
    config: the run.
    objective: gives the loss.
    optimizer: turns gradients into updates.
  """
  at = optimizer.training_params(state.params, state.opt_state)
  grads, new = gradient(
    state.replace(params=at), batch, config=config, objective=objective
  )
  loss, grad_norm = objective.ratios(new)["loss"], optax.global_norm(grads)
  is_good, guard_state = guard.judge(
    state.guard, loss, grad_norm, config.optim.max_spike
  )

  place = state.hours if config.train.hours else state.step

  def update(grads, params, opt_state, averages):
    grads = guard.clip(grads, grad_norm, state.guard, config.optim)
    updates, opt_state = optimizer.update(grads, opt_state, params, place=place)
    params = optax.apply_updates(params, updates)
    averages = _average(averages, params, state.step, config.optim.ema_decay)
    return params, opt_state, averages

  params, opt_state, averages = _update_if(
    is_good, update, grads, state.params, state.opt_state, state.averages
  )

  is_first = state.step % config.train.log_every == 0
  metric_sums = jax.tree.map(
    lambda old, add: jnp.where(is_first, 0, old) + jnp.where(is_good, add, 0),
    state.metric_sums,
    new,
  )
  num_tokens = _num_tokens(batch["input_ids"], objective.vocab.pad_id)
  tokens_seen = add_to_counter(state.tokens_seen, num_tokens)
  metrics = {
    **objective.ratios(metric_sums),
    "num_predictions": sum(sums["weight"] for sums in metric_sums.values()),
    "tokens_seen": tokens_seen,
    "learning_rate": opt_state.learning_rate,
    "grad_norm": grad_norm,
    "hours": state.hours,
    "skipped_steps": guard_state.skipped_steps,
    "skipped_in_a_row": guard_state.skipped_in_a_row,
  }
  state = state.replace(
    step=state.step + 1,
    params=params,
    opt_state=opt_state,
    averages=averages,
    metric_sums=metric_sums,
    tokens_seen=tokens_seen,
    rows_seen=add_to_counter(state.rows_seen, len(batch["input_ids"])),
    guard=guard_state,
  )
  return state, metrics


def _num_tokens(ids_BL: jax.Array, pad_id: int) -> jax.Array:
  # As floats, which count exactly so far, they are added up with the weights.
  exact = jnp.float32 if ids_BL.size <= 1 << 24 else jnp.int32
  return jnp.sum(ids_BL != pad_id, dtype=exact)


def _update_if(is_good: jax.Array, update, grads, *kept):
  """Returns update(grads, *kept) where `is_good`, else what is kept."""

  def select(is_good, grads, *kept):
    # Not multiplied: zero times NaN is NaN.
    where = partial(jnp.where, is_good)
    return jax.tree.map(where, update(grads, *kept), kept)

  def branch(is_good, grads, *kept):
    return jax.lax.cond(is_good, update, lambda _, *kept: kept, grads, *kept)

  # XLA copies what a select keeps on CPU: 8% more traffic, BERT of 4 x 256. It
  # fuses nothing into a branch on TPU: 4%, BERT-base.
  return jax.lax.platform_dependent(
    is_good, grads, *kept, cpu=branch, default=select
  )


def _average(averages, params, step: jax.Array, decay: float):
  """Returns the next running average of the parameters, None for none.

  The first steps count for less: random weights would stay in it for long.
  """
  if averages is None:
    return None
  decay = jnp.minimum(decay, (1 + step) / (10 + step))
  return jax.tree.map(
    lambda old, new: old + (1 - decay) * (new - old), averages, params
  )


def gradient(
  state: TrainState, batch: Batch, *, config: Config, objective: Objective
) -> tuple[Any, LossSums]:
  """Returns the gradient of a step's loss, and its loss sums.

  Args:
    state: gives the parameters, and by its step the random key.
    batch: the rows of the step.
    config: the run.
    objective: gives the loss.
  """
  key = jax.random.fold_in(jax.random.key(config.seeds.dropout), state.step)
  terms, denominators = objective.terms, objective.denominators(batch)

  @partial(jax.grad, has_aux=True)
  def of_microbatch(params, microbatch, key):
    params = groups.freeze(params, config.optim)
    sums = objective.loss_sums(params, microbatch, key)
    # The whole batch's denominators are known before any loss, so that the
    # gradients of micro-batches need only be added up.
    loss = sum(
      term.weight * sums[name]["loss"] / jnp.maximum(denominators[name], 1)
      for name, term in terms.items()
    )
    return loss, sums

  num_microbatches = config.train.microbatches_of(len(batch["input_ids"]))
  grads, sums = accumulate(
    of_microbatch, state.params, batch, num_microbatches, key
  )
  return grads, {
    name: {**sums[name], "weight": denominators[name]} for name in terms
  }


def accumulate(function, params, batch, num_microbatches: int, key: jax.Array):
  """Returns what a function of params, batch and key does, summed over parts.

  One micro-batch at a time is in memory; each has a key of its own.
  """
  if num_microbatches == 1:
    return function(params, batch, key)
  # Every n-th row goes to the same micro-batch: each device keeps its own rows.
  microbatches = jax.tree.map(
    lambda x: x.reshape(-1, num_microbatches, *x.shape[1:]).swapaxes(0, 1),
    batch,
  )

  def add(total, indexed):
    index, microbatch = indexed
    new = function(params, microbatch, jax.random.fold_in(key, index))
    return jax.tree.map(jnp.add, total, new), None

  first = jax.tree.map(lambda x: x[0], microbatches)
  shapes = jax.eval_shape(function, params, first, key)
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  indexed = jnp.arange(num_microbatches), microbatches
  return jax.lax.scan(add, zeros, indexed)[0]
