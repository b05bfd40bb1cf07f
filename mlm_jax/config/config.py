"""All groups of keys together, and the rules that hold across groups."""

import dataclasses
import functools
import math
from typing import NamedTuple

from mlm_jax import registry
from mlm_jax.config.corruption import CorruptionConfig
from mlm_jax.config.data import DataConfig
from mlm_jax.config.key import check_keys, key
from mlm_jax.config.mesh import MeshConfig
from mlm_jax.config.model import EncoderConfig
from mlm_jax.config.objective import ObjectiveConfig
from mlm_jax.config.optim import OptimConfig
from mlm_jax.config.timeline import Timeline, in_steps, length_key, timeline
from mlm_jax.config.train import TrainConfig
from mlm_jax.errors import require


class Seeds(NamedTuple):
  """Seeds of the initial weights, the order of rows, masks and dropout."""

  weights: int
  order: int
  masks: int
  dropout: int


@dataclasses.dataclass(frozen=True)
class Config:
  """All keys: equal configurations give equal batches and weights."""

  seed: int = key(
    0,
    "Seed of the initial weights, the order of rows, corruption and dropout.",
    scope="data",
    at_least=0,
    below=2**31,
  )
  # fmt: off
  weights_seed: int = key(-1,
    "Seed of the initial weights. -1 is seed, as for the other three.",
    scope="initialisation", at_least=-1, below=2**31)
  order_seed: int = key(-1,
    "Seed of the order of rows.",
    scope="data", at_least=-1, below=2**31)
  mask_seed: int = key(-1,
    "Seed of the corruption of rows.",
    scope="data", at_least=-1, below=2**31)
  dropout_seed: int = key(-1,
    "Seed of dropout, and of what an objective samples.",
    scope="optimizer", at_least=-1, below=2**31)
  # fmt: on
  model: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  corruption: CorruptionConfig = dataclasses.field(
    default_factory=CorruptionConfig
  )
  objective: ObjectiveConfig = dataclasses.field(
    default_factory=ObjectiveConfig
  )
  optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
  train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
  mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)

  def __post_init__(self):
    check_keys(self)
    self._check_lengths()
    objective = registry.OBJECTIVES[self.objective.name]
    objective.check(self)
    registry.CORRUPTIONS[self.corruption.kind](self.corruption).check(self)
    objective.check_fields(self)

  @property
  def seeds(self) -> Seeds:
    """The seed of each kind of random numbers."""
    common = self.seed
    own = (
      self.weights_seed,
      self.order_seed,
      self.mask_seed,
      self.dropout_seed,
    )
    return Seeds(*(common if seed < 0 else seed for seed in own))

  @functools.cached_property
  def timeline(self) -> Timeline:
    """The steps of the phase, and the batch size at each of them."""
    return timeline(self.train, self.data.seq_len)

  @property
  def num_steps(self) -> int:
    """The steps of the phase, whatever its length is given in."""
    return self.timeline.num_steps

  def describe_length(self) -> str:
    """Returns how long the phase is, such as "1,000 steps"."""
    if hours := self.train.hours:
      return f"{hours:,g} hours"
    return f"{self.num_steps:,} steps"

  @functools.cached_property
  def optim_in_steps(self) -> OptimConfig:
    """The optimizer's keys, with warmup and decay in steps of full batches."""
    return in_steps(self.optim, self.timeline)

  def _check_lengths(self):
    """Checks what the lengths of rows and of the run have to be."""
    require(
      self.data.seq_len <= self.model.max_positions,
      f"data.seq_len={self.data.seq_len} is over "
      f"model.max_positions={self.model.max_positions}",
    )
    optim = self.optim_in_steps
    warmup = length_key(self.optim, "optim.", "warmup_")
    decay = length_key(self.optim, "optim.", "decay_")
    length = length_key(self.train, "train.")
    most = math.ceil(self.timeline.length)
    require(optim.warmup_steps < most, f"{warmup} must be under {length}")
    require(
      optim.warmup_steps + optim.decay_steps <= most,
      f"{warmup} and {decay} together are over {length}",
    )
    require(
      not (self.train.hours and self.corruption.final_mask_rate),
      f"corruption.final_mask_rate={self.corruption.final_mask_rate} needs a "
      "length in steps or tokens: the batches of a phase in hours must not "
      "depend on the clock",
    )
    require(
      not self.train.patience or self.data.is_evaluated,
      "train.patience needs a held-out loss: data.heldout_fraction is 0, and "
      "there is no data.validation",
    )
