"""The loss on documents that were never trained on."""

import dataclasses
import operator
from collections.abc import Callable

import jax

from mlm_jax.config import CorruptionConfig
from mlm_jax.data import pipeline, rows
from mlm_jax.objectives.objective import means
from mlm_jax.training.run import Run


def evaluator(
  run: Run,
  store: rows.RowStore,
  corruption: CorruptionConfig | None = None,
) -> Callable[..., dict[str, float]]:
  """Returns params -> the objective's means (`objectives.objective.means`).

  The masks are fixed, so equal parameters give equal numbers.
  """
  batches = pipeline.heldout_batches(
    run.config,
    store,
    run.vocab,
    local_rows=run.local_rows,
    corruption=corruption,
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


def discrepancy(run: Run, store: rows.RowStore, params) -> dict[str, float]:
  """Returns the loss at the same places, by what is shown there.

  A model that is used sees no [MASK]; how far these are apart tells how much it
  depends on being told where to look (Clark et al. 2020 ask what that costs).

  Returns:
    Nats a token, for "[MASK]", "the token itself" and "a random token".
  """
  shown = {
    "[MASK]": (1.0, 0.0),
    "the token itself": (0.0, 0.0),
    "a random token": (0.0, 1.0),
  }
  losses = {}
  for name, (mask, random) in shown.items():
    corruption = dataclasses.replace(
      pipeline.HELDOUT_CORRUPTION, mask_share=mask, random_share=random
    )
    found = evaluator(run, store, corruption)(params)
    losses[name] = found.get("mlm_loss", found["loss"])
  return losses


def _added(totals, sums):
  """Returns the sum in double precision; None is nothing."""
  if sums is None:
    return totals
  sums = jax.tree.map(float, jax.device_get(sums))
  return sums if totals is None else jax.tree.map(operator.add, totals, sums)
