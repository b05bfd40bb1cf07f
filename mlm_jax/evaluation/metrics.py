"""Held-out metrics that are no sums over predictions, such as a correlation.

What they need is collected over all held-out batches, and computed at the end.
One is registered by the name that train.metrics lists:

    @registry.METRICS.register("mcc")
    class MatthewsCorrelation:
      def collect(self, objective, params, batch): ...
      def compute(self, arrays): ...
"""

from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from mlm_jax import registry
from mlm_jax.errors import require
from mlm_jax.objectives.base import Batch, Objective
from mlm_jax.training import partitioning
from mlm_jax.training.run import Run

# What every held-out record has.
_RESERVED = ("step", "phase", "split", "loss", "accuracy", "tokens_seen")


class Metric(Protocol):
  """A metric of all held-out predictions together."""

  def collect(self, objective: Objective, params, batch: Batch) -> Any:
    """Returns arrays [B, ...] of a batch, a pure function that is compiled.

    The rows that fill up the last batch have no targets: all weights are 0.
    """

  def compute(self, arrays: Any) -> float:
    """Returns the metric, given NumPy arrays of all rows."""


class Collector:
  """Computes the metrics of train.metrics, batch after batch.

  Args:
    run: what is evaluated.
  """

  def __init__(self, run: Run):
    names = run.config.train.metric_names
    for name in names:
      term = name.removesuffix("_loss").removesuffix("_accuracy")
      require(
        name not in _RESERVED and term not in run.objective.terms,
        f"train.metrics={name!r} is a name of the objective's own: register "
        "the metric under another name",
      )
    self._metrics = {name: registry.METRICS[name]() for name in names}
    self._mesh = run.mesh

    def collect(params, batch):
      return {
        name: metric.collect(run.objective, params, batch)
        for name, metric in self._metrics.items()
      }

    # Each process computes the metrics of all rows.
    everywhere = NamedSharding(run.mesh, PartitionSpec())
    self._collect = jax.jit(collect, out_shardings=everywhere)

  def collect(self, params, batch: Batch) -> dict[str, Any]:
    """Returns what each metric collects of a batch that is on the device."""
    if not self._metrics:
      return {}
    with partitioning.on(self._mesh):
      return self._collect(params, batch)

  def compute(self, collected: list[dict[str, Any]]) -> dict[str, float]:
    """Returns each metric of what `collect` returned."""
    join = lambda *arrays: np.concatenate(jax.device_get(arrays))
    return {
      name: float(metric.compute(jax.tree.map(join, *parts)))
      for name, metric in self._metrics.items()
      if (parts := [part[name] for part in collected])
    }
