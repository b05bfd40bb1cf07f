"""When to stop: the held-out loss no longer falls."""

import json
import math

from mlm_jax.config import TrainConfig
from mlm_jax.workdir import Workdir


class Patience:
  """Counts evaluations without a gain, those of earlier processes among them.

  Args:
    train: how many to wait for, and what a gain is.
    workdir: where earlier evaluations were written down.
    last_step: of those that stand.

  Attributes:
    best_step: the step of the last gain.
  """

  def __init__(self, train: TrainConfig, workdir: Workdir, last_step: int):
    self._patience, self._min_gain = train.patience, train.min_gain
    self._best, self._waited, self.best_step = math.inf, 0, 0
    text = workdir.metrics.read_text() if workdir.metrics.exists() else ""
    # A line that a kill cut short has no end.
    whole = (line for line in text.splitlines() if line.endswith("}"))
    for record in map(json.loads, whole):
      if record["split"] == "heldout" and record["step"] <= last_step:
        self.note(record["step"], record["loss"])

  def note(self, step: int, loss: float) -> None:
    if loss < self._best - self._min_gain:
      self._best, self._waited, self.best_step = loss, 0, step
    else:
      self._waited += 1

  @property
  def is_over(self) -> bool:
    return 0 < self._patience <= self._waited
