"""Learning-rate schedules, each a function of a phase's own progress.

A schedule is an entry of `registry.SCHEDULES`: it takes the optimizer's keys
and the number of steps after the warm-up, and returns the learning rate at each
of them. The warm-up before it is the same for all.
"""

import optax

from mlm_jax import registry
from mlm_jax.config import OptimConfig


def linear(optim: OptimConfig, steps: int) -> optax.Schedule:
  """Returns a linear decay from the peak to 0."""
  return optax.linear_schedule(optim.peak_lr, 0.0, steps)


def cosine(optim: OptimConfig, steps: int) -> optax.Schedule:
  """Returns half a cosine from the peak to 0 (Loshchilov and Hutter 2017)."""
  return optax.cosine_decay_schedule(optim.peak_lr, steps)


def learning_rate(
  optim: OptimConfig, steps: int, first_step: int = 0
) -> optax.Schedule:
  """Returns step -> learning rate: linear warm-up, then `optim.schedule`.

  Args:
    optim: peak, warm-up and the schedule's name.
    steps: of the phase.
    first_step: the run's step that is the phase's first.
  """
  after_warmup = registry.SCHEDULES[optim.schedule](
    optim, steps - optim.warmup_steps
  )
  rate = after_warmup
  if optim.warmup_steps:
    warmup = optax.linear_schedule(0.0, optim.peak_lr, optim.warmup_steps)
    rate = optax.join_schedules([warmup, after_warmup], [optim.warmup_steps])
  if not first_step:
    return rate
  return lambda step: rate(step - first_step)
