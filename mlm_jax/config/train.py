"""`train.*`: steps, batches, and what happens every so many of them."""

import dataclasses

from mlm_jax.config.checks import check_range, check_types
from mlm_jax.errors import require


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  steps: int = 1_000_000
  # Rows a step, over all devices and micro-batches.
  batch_size: int = 256
  # The step adds up the gradients of this many equal parts of the batch.
  microbatches: int = 1
  log_every: int = 100
  eval_every: int = 5_000
  # Held-out batches an evaluation; 0 is all of them.
  eval_batches: int = 0
  checkpoint_every: int = 5_000
  keep_last: int = 2
  # Also keep the checkpoints with the lowest held-out loss.
  keep_best: int = 1
  # Stop after this many evaluations in a row that have not lowered the held-out
  # loss by min_gain; 0 never does.
  patience: int = 0
  min_gain: float = 0.0

  def __post_init__(self):
    check_types(self, "train")
    check_range(
      *(self, "train"),
      above_0=(
        *("steps", "batch_size", "microbatches", "log_every", "eval_every"),
        *("checkpoint_every", "keep_last"),
      ),
      from_0=("eval_batches", "keep_best", "patience", "min_gain"),
    )
    require(
      not self.patience or self.keep_best,
      "train.patience without train.keep_best would lose the best checkpoint",
    )
    require(
      self.batch_size % self.microbatches == 0,
      f"train.batch_size={self.batch_size} does not divide into "
      f"train.microbatches={self.microbatches}",
    )
