"""`train.*`: steps, batches, and what happens every so many of them."""

import dataclasses

from mlm_jax import registry
from mlm_jax.config.key import check_keys, key
from mlm_jax.errors import require


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """Length of the training, batches, and what happens every n steps."""

  # fmt: off
  steps: int = key(1_000_000,
    "Training steps (updates of the weights). 0 with tokens.",
    scope="schedule", at_least=0)
  tokens: int = key(0,
    "Length of the training in tokens, in place of steps. They are those of "
    "whole rows: seq_len for each, padding included.",
    scope="schedule", at_least=0, instead_of=("steps",))
  hours: float = key(0.0,
    "Length of the training in hours, in place of steps. "
    "The learning rate follows the clock, so another run differs; evaluation "
    "counts, stops between two commands do not.",
    scope="schedule", at_least=0, instead_of=("steps", "tokens"))
  batch_size: int = key(256,
    "Rows per step, over all devices and micro-batches.",
    scope="schedule", above=0)
  initial_batch_size: int = key(0,
    "Batch size at the start of its warm-up. It grows from there to "
    "batch_size, linearly with the steps; 0 has no warm-up.",
    scope="schedule", at_least=0)
  batch_warmup_tokens: int = key(0,
    "Tokens over which the batch size grows from initial_batch_size.",
    scope="schedule", at_least=0)
  batch_warmup_sizes: int = key(8,
    "Most batch sizes that the warm-up has. The training step is compiled for "
    "each of them.",
    scope="schedule", above=0)
  reset_optimizer: bool = key(False,
    "Start the phase with a new optimizer state, in a recipe with phases. It "
    "is needed where optim.name changes.",
    scope="state", of_one_phase=True)
  microbatches: int = key(1,
    "Equal parts of the batch, for gradient accumulation. More parts need less "
    "memory.",
    scope="devices", above=0)
  log_every: int = key(100,
    "Steps between two lines of training metrics.",
    scope="logging", above=0)
  eval_every: int = key(5_000,
    "Steps between two evaluations on held-out documents.",
    scope="logging", above=0)
  eval_batches: int = key(0,
    "Held-out batches per evaluation. 0 is all of them.",
    scope="logging", at_least=0)
  metrics: str = key("",
    "Further metrics of held-out batches, separated by commas. A recipe file "
    "registers them.",
    scope="logging")
  checkpoint_every: int = key(5_000,
    "Steps between two checkpoints.",
    scope="logging", above=0)
  keep_last: int = key(2,
    "How many of the latest checkpoints to keep.",
    scope="logging", above=0)
  keep_best: int = key(1,
    "How many checkpoints with the lowest held-out loss to keep as well.",
    scope="logging", at_least=0)
  max_skipped: int = key(10,
    "Steps in a row that may be skipped before the run is stopped. A step is "
    "skipped where its loss or gradient is not finite, or is a spike "
    "(optim.max_spike).",
    scope="logging", above=0)
  patience: int = key(0,
    "Early stopping: evaluations in a row without an improvement. An "
    "improvement lowers the held-out loss by min_gain; 0 never stops early.",
    scope="schedule", at_least=0)
  min_gain: float = key(0.0,
    "Early stopping: least decrease of the held-out loss that counts.",
    scope="schedule", at_least=0)
  # fmt: on

  def __post_init__(self):
    check_keys(self, "train.")
    require(
      self.steps or self.tokens or self.hours,
      "train.steps must be > 0 where train.tokens and train.hours are 0, not 0",
    )
    require(
      not self.initial_batch_size or self.batch_warmup_tokens,
      f"train.initial_batch_size={self.initial_batch_size} needs "
      "train.batch_warmup_tokens",
    )
    require(
      self.initial_batch_size < self.batch_size,
      f"train.initial_batch_size={self.initial_batch_size} must be under "
      f"train.batch_size={self.batch_size}, or 0 for no warm-up",
    )
    for name in self.metric_names:
      registry.METRICS[name]  # Raises if there is none.
    require(
      not self.patience or self.keep_best,
      "train.patience without train.keep_best would lose the best checkpoint",
    )
    require(
      self.batch_size % self.microbatches == 0,
      f"train.batch_size={self.batch_size} does not divide into "
      f"train.microbatches={self.microbatches}",
    )

  def microbatches_of(self, batch_size: int) -> int:
    """Returns into how many parts a batch of the warm-up is split.

    They are at most as large as those of a full batch.
    """
    count = -(-batch_size * self.microbatches // self.batch_size)
    while batch_size % count:
      count += 1
    return count

  @property
  def metric_names(self) -> list[str]:
    return [name.strip() for name in self.metrics.split(",") if name.strip()]
