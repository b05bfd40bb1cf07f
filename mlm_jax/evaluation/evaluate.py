"""The evaluation of a trained model on its held-out documents."""

import dataclasses
from collections.abc import Mapping

from mlm_jax.data import prepare
from mlm_jax.errors import require
from mlm_jax.evaluation import heldout
from mlm_jax.objectives.base import of_tokens
from mlm_jax.training.restoring import restore
from mlm_jax.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Results on held-out documents; losses are in nats per token.

  Attributes:
    loss: of the term that predicts tokens.
    accuracy: of the same term.
    unigram_entropy: the loss of predicting by token frequency alone; None where
      the targets contain sentinels, whose order is known.
    terms: loss and accuracy of each other term of the objective.
    joint_losses: the joint loss of a row's targets, by the number of passes.
    discrepancy: the loss by what the input has at the predicted positions.
  """

  loss: float
  accuracy: float
  unigram_entropy: float | None
  terms: Mapping[str, tuple[float, float]]
  joint_losses: Mapping[int, float]
  discrepancy: Mapping[str, float]


def evaluate(
  workdir: Workdir,
  checkpoint: str = "last",
  *,
  passes: int = 1,
  discrepancy: bool = False,
) -> Evaluation:
  """Evaluates a checkpoint on the held-out rows of its work directory.

  Args:
    workdir: of a prepared and trained run.
    checkpoint: "last", "best" or a step.
    passes: over 1, also measures the joint losses (see `heldout.joint`).
    discrepancy: also measures the loss for other inputs than [MASK] (see
      `heldout.discrepancy`).

  Raises:
    InputError: the run has no held-out rows or no such checkpoint, or its
      objective has no such measurement.
  """
  config = workdir.load_config()
  require(
    config.data.heldout_fraction > 0,
    f"{workdir.root} has no held-out documents: data.heldout_fraction is 0",
  )
  require(
    config.objective.name == "mlm" or not (discrepancy or passes > 1),
    "--discrepancy and --passes need objective.name='mlm', not "
    f"{config.objective.name!r}",
  )
  run, params, _, _ = restore(workdir, checkpoint)
  _, store = prepare.load(config, workdir)
  values = heldout.evaluator(run, store)(params)
  loss, accuracy = of_tokens(values, run.objective)
  unigram_entropy = store.info["heldout"].unigram_entropy
  if config.corruption.kind == "span_corruption":
    unigram_entropy = None
  return Evaluation(
    loss=loss,
    accuracy=accuracy,
    unigram_entropy=unigram_entropy,
    terms={
      term: (values[f"{term}_loss"], values[f"{term}_accuracy"])
      for term in run.terms
      if term != run.objective.tells
    },
    joint_losses=(
      heldout.joint(run, store, params, passes) if passes > 1 else {}
    ),
    discrepancy=(
      heldout.discrepancy(run, store, params) if discrepancy else {}
    ),
  )
