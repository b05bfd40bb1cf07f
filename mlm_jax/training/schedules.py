"""Learning-rate schedules, each a function of a phase's own progress.

A schedule is an entry of `registry.SCHEDULES`: it takes the optimizer's keys
and the number of steps in which the rate falls, and returns the learning rate
at each of them. The warm-up and the steps at the peak before it are the same
for all.
"""

import jax.numpy as jnp
import numpy as np
import optax

from mlm_jax import registry
from mlm_jax.config import Config, OptimConfig


def constant(optim: OptimConfig, steps: int) -> optax.Schedule:
  """Returns the peak at every step."""
  return optax.constant_schedule(optim.peak_lr)


def linear(optim: OptimConfig, steps: int) -> optax.Schedule:
  """Returns a linear decay from the peak."""
  final = optim.peak_lr * optim.final_lr_share
  return optax.linear_schedule(optim.peak_lr, final, steps)


def cosine(optim: OptimConfig, steps: int) -> optax.Schedule:
  """Returns half a cosine from the peak (Loshchilov and Hutter 2017)."""
  return optax.cosine_decay_schedule(optim.peak_lr, steps, optim.final_lr_share)


def one_minus_sqrt(optim: OptimConfig, steps: int) -> optax.Schedule:
  """Returns a decay by 1 - sqrt(progress) (Hägele et al. 2024)."""
  final = optim.final_lr_share

  def rate(step):
    progress = jnp.clip(step / steps, 0, 1)
    return optim.peak_lr * (final + (1 - final) * (1 - jnp.sqrt(progress)))

  return rate


def inverse_sqrt(optim: OptimConfig, steps: int) -> optax.Schedule:
  """Returns a decay by 1 / sqrt(step) (Vaswani et al. 2017).

  Steps are counted from the start of the warm-up, without which the rate halves
  within 4 steps.
  """
  first = max(optim.warmup_steps, 1)
  final = optim.peak_lr * optim.final_lr_share

  def rate(step):
    return jnp.maximum(optim.peak_lr * jnp.sqrt(first / (first + step)), final)

  return rate


def of_phase(config: Config, first_step: int = 0) -> optax.Schedule:
  """Returns step of the run -> learning rate.

  During a batch-size warm-up, progress is measured in rows, not in steps. Where
  the length is `train.hours`, the schedule is a function of hours of the phase.

  Args:
    config: the phase's.
    first_step: the run's step that is the phase's first.
  """
  timeline = config.timeline
  rate = learning_rate(config.optim_in_steps, timeline.length)
  if timeline.hours:
    return lambda hours: rate(hours / timeline.hours * timeline.length)
  if len(timeline.stages) == 1:
    return lambda step: rate(step - first_step)
  steps = [*(stage.first_step for stage in timeline.stages), timeline.num_steps]
  rows = np.array([timeline.rows_before(step) for step in steps])
  full_batches = np.float32(rows / config.train.batch_size)
  steps = np.float32(steps)
  return lambda step: rate(jnp.interp(step - first_step, steps, full_batches))


def learning_rate(optim: OptimConfig, steps: float) -> optax.Schedule:
  """Returns step -> learning rate: warm-up, the peak, then `optim.schedule`.

  Args:
    optim: peak, warm-up and decay in steps, and the schedule's name.
    steps: of the phase.
  """
  falling = optim.decay_steps or steps - optim.warmup_steps
  parts, ends = [], []
  if optim.warmup_steps:
    first = optim.peak_lr * optim.initial_lr_share
    parts.append(
      optax.linear_schedule(first, optim.peak_lr, optim.warmup_steps)
    )
    ends.append(optim.warmup_steps)
  if optim.warmup_steps + falling < steps:
    parts.append(optax.constant_schedule(optim.peak_lr))
    ends.append(steps - falling)
  parts.append(registry.SCHEDULES[optim.schedule](optim, falling))
  return optax.join_schedules(parts, ends) if ends else parts[0]
