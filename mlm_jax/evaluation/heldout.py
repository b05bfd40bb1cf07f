"""The loss on documents that were never trained on."""

from collections.abc import Callable

from mlm_jax.data import pipeline, rows
from mlm_jax.training.run import Run


def evaluator(
  run: Run, store: rows.RowStore
) -> Callable[..., dict[str, float]]:
  """Returns params -> {"loss": nats a target, "accuracy": share of targets}.

  The masks are fixed, so equal parameters give equal numbers.
  """
  batches = pipeline.heldout_batches(
    run.config, store, run.vocab, local_rows=run.local_rows
  )

  def evaluate(params) -> dict[str, float]:
    totals = {"loss": 0.0, "accuracy": 0.0, "weight": 0.0}
    running = totals
    for batch in batches.as_numpy_iterator():
      done, running = running, run.eval_step(params, run.to_device(batch))
      # Fetched while the next batch is at work.
      totals = {k: total + float(done[k]) for k, total in totals.items()}
    totals = {k: total + float(running[k]) for k, total in totals.items()}
    weight = max(totals.pop("weight"), 1.0)
    return {k: total / weight for k, total in totals.items()}

  return evaluate
