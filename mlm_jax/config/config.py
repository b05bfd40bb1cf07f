"""All groups of keys together, and the rules that hold across groups."""

import dataclasses

from mlm_jax import registry
from mlm_jax.config.corruption import CorruptionConfig
from mlm_jax.config.data import DataConfig
from mlm_jax.config.key import check_keys, key
from mlm_jax.config.mesh import MeshConfig
from mlm_jax.config.model import EncoderConfig
from mlm_jax.config.objective import ObjectiveConfig
from mlm_jax.config.optim import OptimConfig
from mlm_jax.config.train import TrainConfig
from mlm_jax.errors import require


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

  def _check_lengths(self):
    """Checks what the lengths of rows and of the run have to be."""
    require(
      self.data.seq_len <= self.model.max_positions,
      f"data.seq_len={self.data.seq_len} is over "
      f"model.max_positions={self.model.max_positions}",
    )
    require(
      self.optim.warmup_steps < self.train.steps,
      f"optim.warmup_steps={self.optim.warmup_steps} must be under "
      f"train.steps={self.train.steps}",
    )
    require(
      self.optim.warmup_steps + self.optim.decay_steps <= self.train.steps,
      f"optim.warmup_steps={self.optim.warmup_steps} and "
      f"optim.decay_steps={self.optim.decay_steps} together are over "
      f"train.steps={self.train.steps}",
    )
    require(
      not self.train.patience or self.data.heldout_fraction,
      "train.patience needs a held-out loss: data.heldout_fraction is 0",
    )
