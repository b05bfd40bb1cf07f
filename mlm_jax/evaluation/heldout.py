"""The loss on documents that were never trained on."""

import operator
from collections.abc import Callable

import jax

from mlm_jax.data import pipeline, rows
from mlm_jax.objectives.objective import means
from mlm_jax.training.run import Run


def evaluator(
  run: Run, store: rows.RowStore
) -> Callable[..., dict[str, float]]:
  """Returns params -> the objective's means (`objectives.objective.means`).

  The masks are fixed, so equal parameters give equal numbers.
  """
  batches = pipeline.heldout_batches(
    run.config, store, run.vocab, local_rows=run.local_rows
  )

  def evaluate(params) -> dict[str, float]:
    totals, running = None, None
    for batch in batches.as_numpy_iterator():
      done, running = running, run.eval_step(params, run.to_device(batch))
      # Fetched while the next batch is at work.
      totals = _added(totals, done)
    found = means(_added(totals, running), run.terms)
    return {key: float(value) for key, value in found.items()}

  return evaluate


def _added(totals, sums):
  """Returns the sum in double precision; None is nothing."""
  if sums is None:
    return totals
  sums = jax.tree.map(float, jax.device_get(sums))
  return sums if totals is None else jax.tree.map(operator.add, totals, sums)
