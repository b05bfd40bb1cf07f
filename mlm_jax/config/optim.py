"""`optim.*`: from gradients to updates."""

import dataclasses

from mlm_jax.config.key import check_keys, key
from mlm_jax.registry import OPTIMIZERS, SCHEDULES


@dataclasses.dataclass(frozen=True)
class OptimConfig:
  """The optimizer and its learning-rate schedule."""

  # fmt: off
  name: str = key("adamw",
    "Optimizer that turns gradients into updates of the weights.",
    scope="weights", choices=OPTIMIZERS)
  peak_lr: float = key(1e-4,
    "Peak learning rate, reached at the end of the warmup.",
    scope="schedule", above=0)
  warmup_steps: int = key(10_000,
    "Steps of linear learning-rate warmup from 0.",
    scope="schedule", at_least=0)
  schedule: str = key("linear",
    "Learning-rate schedule after the warmup. It decays from peak_lr to 0 at "
    "train.steps.",
    scope="schedule", choices=SCHEDULES)
  b1: float = key(0.9,
    "Decay rate of Adam's first moment.",
    scope="optimizer", at_least=0, below=1)
  b2: float = key(0.999,
    "Decay rate of Adam's second moment.",
    scope="optimizer", at_least=0, below=1)
  eps: float = key(1e-6,
    "Epsilon in the denominator of Adam's update.",
    scope="optimizer", above=0)
  weight_decay: float = key(0.01,
    "Decoupled weight decay. It does not apply to norms and biases.",
    scope="optimizer", at_least=0)
  clip_norm: float = key(1.0,
    "Maximum global gradient norm. Larger gradients are scaled down to it; 0 "
    "does not clip.",
    scope="optimizer", at_least=0)
  max_spike: float = key(0.0,
    "Skips steps with a gradient norm over so many times the running median. "
    "The median is of the last 128 steps that were applied; 0 skips none.",
    scope="optimizer", at_least=0)
  # fmt: on

  def __post_init__(self):
    check_keys(self, "optim.")
