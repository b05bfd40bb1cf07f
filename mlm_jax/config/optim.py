"""`optim.*`: from gradients to updates."""

import dataclasses
import math
from typing import Literal

from mlm_jax.config.key import check_keys, key, keys_of
from mlm_jax.errors import require
from mlm_jax.registry import OPTIMIZERS, SCHEDULES

# The keys by which parameters have different learning rates.
GROUPS = ("layer_decay", "rates", "freeze", "first_trained_row")


def _averages(optim: "OptimConfig") -> str:
  """Returns the scope of ema_decay: whether there is an average is fixed."""
  return "optimizer" if optim.ema_decay else "state"


@dataclasses.dataclass(frozen=True)
class OptimConfig:
  """The optimizer and its learning-rate schedule."""

  # fmt: off
  name: str = key("adamw",
    "Optimizer that turns gradients into updates of the weights.",
    scope="state", choices=OPTIMIZERS)
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
    scope="schedule", at_least=0, instead_of=("warmup_steps",))
  warmup_hours: float = key(0.0,
    "Length of the warmup in hours, where that of the phase is train.hours.",
    scope="schedule", at_least=0,
    instead_of=("warmup_steps", "warmup_tokens"))
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
    scope="schedule", at_least=0, instead_of=("decay_steps",))
  decay_hours: float = key(0.0,
    "Length of the decay in hours, where that of the phase is train.hours.",
    scope="schedule", at_least=0,
    instead_of=("decay_steps", "decay_tokens"))
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
  clip_to_median: float = key(0.0,
    "Maximum global gradient norm, in running medians. The median is that of "
    "the last 128 steps that were applied; 0 does not clip.",
    scope="optimizer", at_least=0)
  max_spike: float = key(0.0,
    "Skips steps with a gradient norm over so many times the running median. "
    "The median is of the last 128 steps that were applied; 0 skips none.",
    scope="optimizer", at_least=0)
  layer_decay: float = key(1.0,
    "Factor of the learning rate from each layer to the one below it. Heads "
    "have the full rate, the last layer that times the factor, and so on down "
    "to the embeddings.",
    scope="optimizer", above=0, at_most=1)
  rates: str = key("",
    "Factors of the learning rate by parameter, separated by commas. Each is "
    "PATTERN=FACTOR; a pattern names successive parts of a path such as "
    "encoder/blocks_0/mlp/in/kernel, with *, ? and [0-3]. Factors of several "
    "patterns that match are multiplied.",
    scope="optimizer")
  freeze: str = key("",
    "Parameters that are not trained, as patterns separated by commas. What "
    "follows a ! is trained all the same, such as the head of *,!head; rates "
    "says what a pattern is.",
    scope="optimizer")
  first_trained_row: int = key(0,
    "Row of the token embedding from which on it is trained. Those before it "
    "are frozen, so that only new tokens learn.",
    scope="optimizer", at_least=0)
  ema_decay: float = key(0.0,
    "Decay rate of a running average of the weights (EMA), kept beside them. "
    "--checkpoint=last:ema uses it; early steps decay faster; 0 keeps none.",
    scope=_averages, at_least=0, below=1)
  # fmt: on

  def __post_init__(self):
    check_keys(self, "optim.")
    self._check_options()
    require(
      "" not in self.frozen_patterns,
      f"optim.freeze has an empty pattern: {self.freeze!r}",
    )
    _ = self.rate_of_pattern  # Raises where it is not of the form.

  def _check_options(self):
    """Checks that the optimizer has the options that are set.

    One that a recipe file registers says nothing, and may have all.
    """
    declared = getattr(OPTIMIZERS[self.name], "options", None)
    if declared is None:
      return
    for name in {"b1", "b2", "momentum", "eps", *GROUPS}.difference(declared):
      value, default = getattr(self, name), keys_of(OptimConfig)[name].default
      require(
        value == default,
        f"optim.{name}={value!r} is no option of optim.name={self.name!r}: "
        f"leave it at {default!r}",
      )

  @property
  def frozen_patterns(self) -> list[str]:
    return [p.strip() for p in self.freeze.split(",")] if self.freeze else []

  @property
  def rate_of_pattern(self) -> dict[str, float]:
    """The factor of each pattern in rates.

    Raises:
      InputError: one is not PATTERN=FACTOR, or the factor not positive.
    """
    found = {}
    for entry in self.rates.split(",") if self.rates else []:
      pattern, _, factor = entry.strip().rpartition("=")
      try:
        found[pattern] = float(factor)
      except ValueError:
        pattern = ""
      require(
        pattern and 0 < found[pattern] < math.inf,
        "optim.rates must be PATTERN=FACTOR, with factors over 0, separated by "
        f"commas, not {self.rates!r}",
      )
    return found

  @property
  def has_groups(self) -> bool:
    """True if the parameters have different learning rates."""
    return any(
      getattr(self, name) != keys_of(OptimConfig)[name].default
      for name in GROUPS
    )

  @property
  def decay_per_rate(self) -> float:
    """Returns the weight decay as a factor of the learning rate."""
    if self.weight_decay_times == "rate":
      return self.weight_decay
    return self.weight_decay / self.peak_lr
