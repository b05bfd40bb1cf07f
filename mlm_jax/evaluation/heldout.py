"""The loss on documents that were never trained on."""

import functools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp

from mlm_jax.config import CorruptionConfig
from mlm_jax.data import pipeline, rows
from mlm_jax.data.host_tensorflow import iterate
from mlm_jax.evaluation.metrics import Collector
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.training.run import Run


def evaluator(
  run: Run,
  store: rows.RowStore,
  corruption: CorruptionConfig | None = None,
) -> Callable[..., dict[str, float]]:
  """Returns params -> metrics, of `Objective.ratios` and train.metrics.

  The masks are fixed, so equal parameters give equal numbers.
  """
  batches = pipeline.heldout_batches(
    run.config,
    store,
    run.vocab,
    local_rows=run.local_rows,
    corruption=corruption,
  )

  metrics = Collector(run)

  def evaluate(params) -> dict[str, float]:
    totals, running, collected = None, None, []
    for batch in map(run.to_device, iterate(batches)):
      done, running = running, run.eval_step(params, batch)
      collected.append(metrics.collect(params, batch))
      # Fetched while the next batch is at work.
      totals = _added(totals, done)
    found = run.objective.ratios(_added(totals, running))
    found |= metrics.compute(collected)
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
    corruption = pipeline.heldout_corruption(
      run.config.corruption, mask_share=mask, random_share=random
    )
    values = evaluator(run, store, corruption)(params)
    losses[name], _ = run.objective.token_loss_and_accuracy(values)
  return losses


def joint(
  run: Run, store: rows.RowStore, params, passes: int
) -> dict[int, float]:
  """Returns the joint loss of each row's targets in 1, 2, 4, ... T passes.

  In one pass, the targets are predicted independently of each other, which loses
  what they say of one another. In T, the surest of them (as Mask-Predict has it,
  Ghazvininejad et al. 2019) are told first, and the rest is predicted given
  those: by the chain rule, the loss of them together.

  Returns:
    Nats a token, by the number of passes.
  """
  corruption = pipeline.heldout_corruption(
    run.config.corruption, mask_share=1.0, random_share=0.0
  )
  batches = pipeline.heldout_batches(
    run.config,
    store,
    run.vocab,
    local_rows=run.local_rows,
    corruption=corruption,
  )
  numbers = sorted({*(2**n for n in range(passes.bit_length())), passes})
  tell = jax.jit(functools.partial(_told_in_passes, run))
  losses, weight = dict.fromkeys(numbers, 0.0), 0.0
  for batch in iterate(batches):
    weight += float(batch["target_weights"].sum())
    batch = run.to_device(batch)
    for number in numbers:
      losses[number] += float(tell(params, batch, number))
  return {number: loss / max(weight, 1) for number, loss in losses.items()}


def _told_in_passes(run, params, batch, passes):
  """Returns the summed loss of targets, told in `passes` parts of each row."""
  vocab, ids_BL = run.vocab, batch["input_ids"]
  places_BP, targets_BP = batch["target_positions"], batch["target_ids"]
  real_BP = batch["target_weights"] > 0
  types_BL = batch.get("type_ids")
  rows_B1 = jnp.arange(len(ids_BL))[:, None]
  # Segments and positions are those of the row, whatever is told.
  where = segments_and_positions(ids_BL, vocab)

  def tell(number, told):
    loss, told_BP = told
    shown_BP = jnp.where(real_BP & ~told_BP, vocab.mask_id, targets_BP)
    shown_BL = ids_BL.at[rows_B1, places_BP].set(shown_BP)
    logits_BPV = run.logits(params, shown_BL, *where, places_BP, types_BL)
    logs_BPV = jax.nn.log_softmax(logits_BPV)
    # Only what is hidden competes, the surest first.
    sure_BP = jnp.where(
      real_BP & ~told_BP, jnp.max(logs_BPV, axis=-1), -jnp.inf
    )
    rank_BP = jnp.argsort(jnp.argsort(-sure_BP, axis=1), axis=1)
    count_B1 = jnp.sum(real_BP, axis=1, keepdims=True)
    before_B1 = count_B1 * number // passes
    now_B1 = count_B1 * (number + 1) // passes - before_B1
    now_BP = real_BP & ~told_BP & (rank_BP < now_B1)
    log_BP = jnp.take_along_axis(logs_BPV, targets_BP[..., None], axis=-1)
    loss -= jnp.sum(log_BP[..., 0], where=now_BP)
    return loss, told_BP | now_BP

  start = jnp.zeros([]), jnp.zeros_like(real_BP)
  return jax.lax.fori_loop(0, passes, tell, start)[0]


def _added(totals, sums):
  """Returns the sum in double precision; None is nothing."""
  if sums is None:
    return totals
  sums = jax.tree.map(float, jax.device_get(sums))
  return sums if totals is None else jax.tree.map(operator.add, totals, sums)
