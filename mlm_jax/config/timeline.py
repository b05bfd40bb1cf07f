"""How long a phase is: its steps, and the batch size at each of them.

A batch-size warm-up has a few sizes, as each is compiled once. They are
multiples of what divides both ends, so they divide over whatever devices these
divide over; each is trained for the same number of steps, so the batch grows
linearly.
"""

import dataclasses
import math
from typing import Any

from mlm_jax.config.optim import OptimConfig
from mlm_jax.config.train import TrainConfig
from mlm_jax.errors import require

# Of a phase in hours; a step is an int32, and there may be several.
_UNKNOWN_STEPS = 1 << 28
_PARTS_OF_HOURS = 1_000_000


@dataclasses.dataclass(frozen=True)
class Stage:
  """Steps with one batch size.

  Attributes:
    batch_size: rows per step.
    first_step: the first one, in steps of the phase.
    num_steps: how many there are.
  """

  batch_size: int
  first_step: int
  num_steps: int

  @property
  def end(self) -> int:
    return self.first_step + self.num_steps


@dataclasses.dataclass(frozen=True)
class Timeline:
  """The stages of a phase, in order; the last one has the full batch size.

  Steps are those of the phase, counted from 0. Tokens are those of whole rows,
  padding included. The last stage of a phase in hours has more steps than it
  can be trained for.
  """

  stages: tuple[Stage, ...]
  seq_len: int
  hours: float = 0.0

  @property
  def num_steps(self) -> int:
    return self.stages[-1].end

  @property
  def batch_sizes(self) -> list[int]:
    """The sizes of batches, ascending."""
    return [stage.batch_size for stage in self.stages]

  @property
  def num_rows(self) -> int:
    return self.rows_before(self.num_steps)

  def batch_size(self, step: int) -> int:
    """Returns the rows of a step."""
    return self.rows_before(step + 1) - self.rows_before(step)

  def rows_before(self, step: int) -> int:
    """Returns the rows of all steps before one."""
    return sum(
      stage.batch_size * (min(step, stage.end) - stage.first_step)
      for stage in self.stages
      if stage.first_step < step
    )

  @property
  def length(self) -> float:
    """The number of steps if all batches were full.

    In hours, it is the number of parts that a schedule divides them into.
    """
    if self.hours:
      return _PARTS_OF_HOURS
    if len(self.stages) == 1:
      return self.num_steps
    return self.num_rows / self.stages[-1].batch_size


def timeline(train: TrainConfig, seq_len: int) -> Timeline:
  """Returns the timeline of a phase whose rows have `seq_len` tokens.

  Raises:
    InputError: the warm-up of the batch size is as long as the phase.
  """
  stages = []
  if train.initial_batch_size:
    sizes = _warmup_sizes(train)
    steps = train.batch_warmup_tokens / (seq_len * sum(sizes))
    steps = max(1, round(steps))
    stages = [Stage(size, steps * n, steps) for n, size in enumerate(sizes)]
  warmup_steps = stages[-1].end if stages else 0
  if train.hours:
    steps = _UNKNOWN_STEPS
  elif train.steps:
    steps = train.steps - warmup_steps
  else:
    rows = math.ceil(train.tokens / seq_len)
    rows -= sum(stage.batch_size * stage.num_steps for stage in stages)
    steps = math.ceil(rows / train.batch_size)
  require(
    steps > 0,
    f"train.batch_warmup_tokens={train.batch_warmup_tokens} takes "
    f"{warmup_steps} steps, which leaves none of "
    f"{length_key(train, 'train.')}",
  )
  stages.append(Stage(train.batch_size, warmup_steps, steps))
  return Timeline(tuple(stages), seq_len, train.hours)


def in_steps(optim: OptimConfig, timeline: Timeline) -> OptimConfig:
  """Returns keys whose warmup and decay are in steps of full batches.

  In hours, a step is one of the parts that `Timeline.length` counts.

  Raises:
    InputError: one length is in hours, another is not.
  """
  for name in ("warmup", "decay"):
    length = length_key(optim, "optim.", f"{name}_")
    is_in_hours = bool(getattr(optim, f"{name}_hours"))
    require(
      is_in_hours == bool(timeline.hours) or length.endswith("=0"),
      f"{length} does not go with train.hours={timeline.hours}: a schedule is "
      f"in hours as a whole, train.hours and optim.{name}_hours, or not at all",
    )
  if timeline.hours:
    part = timeline.hours / _PARTS_OF_HOURS
    return dataclasses.replace(
      optim,
      warmup_steps=round(optim.warmup_hours / part),
      warmup_hours=0.0,
      decay_steps=round(optim.decay_hours / part),
      decay_hours=0.0,
    )
  batch_size = timeline.stages[-1].batch_size
  rows = timeline.rows_before(optim.warmup_steps)
  if optim.warmup_tokens:
    rows = optim.warmup_tokens / timeline.seq_len
  changes = {"warmup_steps": math.ceil(rows / batch_size), "warmup_tokens": 0}
  if optim.decay_tokens:
    rows = optim.decay_tokens / timeline.seq_len
    changes |= {"decay_steps": math.ceil(rows / batch_size), "decay_tokens": 0}
  return dataclasses.replace(optim, **changes)


def length_key(group: Any, prefix: str, name: str = "") -> str:
  """Returns KEY=VALUE of a length, which is in steps, tokens or hours."""
  units = ("tokens", "hours")
  unit = next((u for u in units if getattr(group, name + u)), "steps")
  return f"{prefix}{name}{unit}={getattr(group, name + unit)}"


def _warmup_sizes(train: TrainConfig) -> list[int]:
  """Returns the batch sizes before the full one, in order."""
  first, last = train.initial_batch_size, train.batch_size
  unit = math.gcd(first, last)
  units = (last - first) // unit
  count = min(units, train.batch_warmup_sizes)
  return [first + units * n // count * unit for n in range(count)]
