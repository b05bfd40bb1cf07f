"""`optim.*`: from gradients to updates."""

import dataclasses
from typing import Literal

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
  initial_lr_share: float = key(0.0,
    "Learning rate at the start of the warmup, as a share of peak_lr.",
    scope="schedule", at_least=0, at_most=1)
  warmup_steps: int = key(10_000,
    "Steps of linear learning-rate warmup.",
    scope="schedule", at_least=0)
  warmup_tokens: int = key(0,
    "Length of the warmup in tokens, in place of warmup_steps.",
    scope="schedule", at_least=0, instead_of="warmup_steps")
  schedule: str = key("linear",
    "Learning-rate schedule after the warmup. It falls from peak_lr to "
    "final_lr_share of it at the end of the phase.",
    scope="schedule", choices=SCHEDULES)
  decay_steps: int = key(0,
    "Last steps of the phase, in which the learning rate falls. It stays at "
    "peak_lr before them (warmup-stable-decay); 0 is all steps after the "
    "warmup.",
    scope="schedule", at_least=0)
  decay_tokens: int = key(0,
    "Length of the decay in tokens, in place of decay_steps.",
    scope="schedule", at_least=0, instead_of="decay_steps")
  final_lr_share: float = key(0.0,
    "Learning rate at the end of the phase, as a share of peak_lr.",
    scope="schedule", at_least=0, at_most=1)
  b1: float = key(0.9,
    "Decay rate of Adam's first moment.",
    scope="optimizer", at_least=0, below=1)
  b2: float = key(0.999,
    "Decay rate of Adam's second moment.",
    scope="optimizer", at_least=0, below=1)
  momentum: float = key(0.95,
    "Momentum of muon's matrices.",
    scope="optimizer", at_least=0, below=1)
  eps: float = key(1e-6,
    "Epsilon in the denominator of Adam's update.",
    scope="optimizer", above=0)
  weight_decay: float = key(0.01,
    "Decoupled weight decay. It does not apply to norms and biases.",
    scope="optimizer", at_least=0)
  weight_decay_times: Literal["rate", "relative_rate"] = key("rate",
    "What weight decay is multiplied by in each step. rate is the learning "
    "rate, as in PyTorch's AdamW; relative_rate is the learning rate over "
    "peak_lr, as in MosaicML's decoupled optimizers.",
    scope="optimizer")
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

  @property
  def decay_per_rate(self) -> float:
    """Returns the weight decay as a factor of the learning rate."""
    if self.weight_decay_times == "rate":
      return self.weight_decay
    return self.weight_decay / self.peak_lr
