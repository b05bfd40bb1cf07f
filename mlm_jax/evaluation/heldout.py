"""Loss and accuracy on held-out documents."""

import functools
import itertools
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp

from mlm_jax.config import CorruptionConfig
from mlm_jax.data import pipeline, rows
from mlm_jax.data.host_tensorflow import iterate
from mlm_jax.errors import require
from mlm_jax.evaluation.metrics import Collector
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.training.run import Run


def evaluator(
  run: Run,
  stores: rows.Stores,
  corruption: CorruptionConfig | None = None,
) -> Callable[..., dict[str, dict[str, float]]]:
  """Returns params -> metrics, of all held-out rows and of each text.

  The metrics are those of `Objective.ratios` and train.metrics. Their names are
  "heldout", for all of `Stores.headline`, and the names in `Stores.evaluated`.
  Masks are the same each time, so equal parameters give equal results.

  Args:
    run: the model and its objective.
    stores: the prepared rows; the held-out ones are read.
    corruption: of the rows, which gives "heldout" alone; by default
      `pipeline.heldout_corruption`.
  """
  texts = stores.headline if corruption else stores.evaluated
  batches = {
    name: _batches(run, store, split, corruption)
    for name, (store, split) in texts.items()
  }
  metrics = Collector(run)

  def measure(params, name):
    totals, running, collected = None, None, []
    for batch in map(run.to_device, iterate(batches[name])):
      done, running = running, run.eval_step(params, batch)
      collected.append(metrics.collect(params, batch))
      # Fetched while the device computes the next batch.
      totals = _accumulate(totals, done)
    return _accumulate(totals, running), collected

  def ratios(measured) -> dict[str, float]:
    sums, collected = zip(*measured, strict=True)
    totals = functools.reduce(_accumulate, sums)
    require(
      any(term["weight"] for term in totals.values()),
      "nothing of the held-out rows can be predicted: corruption.kind="
      f"{run.config.corruption.kind!r} finds no target in them",
    )
    found = run.objective.ratios(totals)
    found |= metrics.compute([one for some in collected for one in some])
    return {key: float(value) for key, value in found.items()}

  def evaluate(params) -> dict[str, dict[str, float]]:
    measured = {name: measure(params, name) for name in batches}
    headline = [measured[name] for name in stores.headline]
    found = {"heldout": ratios(headline)}
    if not corruption:
      found |= {
        name: ratios([one])
        for name, one in measured.items()
        if name not in found
      }
    return found

  return evaluate


def discrepancy(run: Run, stores: rows.Stores, params) -> dict[str, float]:
  """Returns the loss at the same positions, given different input tokens.

  A model in use sees no [MASK]. The differences between these losses show how
  much it depends on [MASK] at the predicted positions (Clark et al. 2020
  measure what that costs).

  Returns:
    Nats per token, by what the input has at the predicted positions: "[MASK]",
    "the token itself" or "a random token".
  """
  inputs = {
    "[MASK]": (1.0, 0.0),
    "the token itself": (0.0, 0.0),
    "a random token": (0.0, 1.0),
  }
  losses = {}
  for name, (mask, random) in inputs.items():
    corruption = pipeline.heldout_corruption(
      run.config.corruption, mask_share=mask, random_share=random
    )
    values = evaluator(run, stores, corruption)(params)["heldout"]
    losses[name], _ = run.objective.token_loss_and_accuracy(values)
  return losses


def joint(
  run: Run, stores: rows.Stores, params, passes: int
) -> dict[int, float]:
  """Returns the joint loss of each row's targets in 1, 2, 4, ... T passes.

  In one pass, the targets are predicted independently of each other, which
  ignores what they say about one another. In T passes, each pass reveals the
  targets predicted most confidently (the order of Mask-Predict, Ghazvininejad
  et al. 2019), and later passes are conditioned on them: by the chain rule, the
  sum is the loss of all targets jointly.

  Returns:
    Nats per token, by the number of passes.
  """
  corruption = pipeline.heldout_corruption(
    run.config.corruption, mask_share=1.0, random_share=0.0
  )
  batches = itertools.chain.from_iterable(
    iterate(_batches(run, store, split, corruption))
    for store, split in stores.headline.values()
  )
  powers = [2**n for n in range(passes.bit_length())]
  numbers = sorted({*powers, passes})
  joint_loss = jax.jit(functools.partial(_joint_loss, run))
  losses, weight = dict.fromkeys(numbers, 0.0), 0.0
  for batch in batches:
    weight += float(batch["target_weights"].sum())
    batch = run.to_device(batch)
    for number in numbers:
      losses[number] += float(joint_loss(params, batch, number))
  return {number: loss / max(weight, 1) for number, loss in losses.items()}


def _batches(run, store, split, corruption):
  return pipeline.heldout_batches(
    run.config,
    store,
    run.vocab,
    split=split,
    local_rows=run.local_rows,
    corruption=corruption,
  )


def _joint_loss(run, params, batch, passes):
  """Returns the summed loss of the targets, revealed in `passes` steps."""
  vocab, ids_BL = run.vocab, batch["input_ids"]
  positions_BP, targets_BP = batch["target_positions"], batch["target_ids"]
  real_BP = batch["target_weights"] > 0
  types_BL = batch.get("type_ids")
  rows_B1 = jnp.arange(len(ids_BL))[:, None]
  # Segments and positions are the row's own, whatever it reveals.
  where = segments_and_positions(ids_BL, vocab)

  def reveal(number, state):
    loss, revealed_BP = state
    hidden_BP = real_BP & ~revealed_BP
    inputs_BP = jnp.where(hidden_BP, vocab.mask_id, targets_BP)
    inputs_BL = ids_BL.at[rows_B1, positions_BP].set(inputs_BP)
    logits_BPV = run.logits(params, inputs_BL, *where, positions_BP, types_BL)
    logs_BPV = jax.nn.log_softmax(logits_BPV)
    # Rank the hidden targets, most confident first.
    confidence_BP = jnp.where(hidden_BP, jnp.max(logs_BPV, axis=-1), -jnp.inf)
    rank_BP = jnp.argsort(jnp.argsort(-confidence_BP, axis=1), axis=1)
    count_B1 = jnp.sum(real_BP, axis=1, keepdims=True)
    before_B1 = count_B1 * number // passes
    num_new_B1 = count_B1 * (number + 1) // passes - before_B1
    new_BP = hidden_BP & (rank_BP < num_new_B1)
    log_BP = jnp.take_along_axis(logs_BPV, targets_BP[..., None], axis=-1)
    loss -= jnp.sum(log_BP[..., 0], where=new_BP)
    return loss, revealed_BP | new_BP

  start = jnp.zeros([]), jnp.zeros_like(real_BP)
  return jax.lax.fori_loop(0, passes, reveal, start)[0]


def _accumulate(totals, sums):
  """Returns totals + sums in double precision; None counts as zero."""
  if sums is None:
    return totals
  sums = jax.tree.map(float, jax.device_get(sums))
  return sums if totals is None else jax.tree.map(operator.add, totals, sums)
