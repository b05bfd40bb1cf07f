"""`optim.*`: from gradients to updates."""

import dataclasses
from typing import Literal

from mlm_jax.config.checks import check_range, check_types


@dataclasses.dataclass(frozen=True)
class OptimConfig:
  name: Literal["adamw"] = "adamw"
  peak_lr: float = 1e-4
  # Linear from 0 to the peak over warmup_steps, then to 0 at train.steps.
  warmup_steps: int = 10_000
  schedule: Literal["linear", "cosine"] = "linear"
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-6
  # Decoupled; not applied to norms and biases.
  weight_decay: float = 0.01
  # The largest global gradient norm; 0 does not clip.
  clip_norm: float = 1.0

  def __post_init__(self):
    check_types(self, "optim")
    check_range(
      *(self, "optim"),
      above_0=("peak_lr", "eps"),
      from_0=("warmup_steps", "weight_decay", "clip_norm"),
      from_0_below_1=("b1", "b2"),
    )
