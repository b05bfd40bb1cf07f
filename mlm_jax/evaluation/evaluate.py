"""The evaluation of a trained model on its held-out documents."""

import dataclasses
from collections.abc import Mapping

from mlm_jax.data import corruption, prepare
from mlm_jax.errors import require
from mlm_jax.evaluation import heldout
from mlm_jax.objectives import require_support
from mlm_jax.training.restoring import restore
from mlm_jax.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Results on held-out documents; losses are in nats.

  Attributes:
    loss: per token, of the term that predicts tokens; of an objective without
      one, all terms together.
    accuracy: of the same term.
    unit: of the loss.
    unigram_entropy: the loss of predicting by token frequency alone; None where
      the targets contain sentinels, whose order is known, or are no tokens.
    loss_as_trained: the same by the corruption that the run trains on, None
      where that is the same.
    corruption: what that is.
    terms: by display name, loss and accuracy of each other term.
    metrics: those of train.metrics, by name.
    joint_losses: the joint loss of a row's targets, by the number of passes.
    discrepancy: the loss by what the input has at the predicted positions.
  """

  loss: float
  accuracy: float
  unit: str
  unigram_entropy: float | None
  loss_as_trained: float | None
  corruption: str
  terms: Mapping[str, tuple[float, float]]
  metrics: Mapping[str, float]
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
  run, params, _, step = restore(workdir, checkpoint)
  require(
    run.config.data.heldout_fraction > 0,
    f"{workdir.root} has no held-out documents at step {step}: "
    "data.heldout_fraction is 0",
  )
  if discrepancy:
    require_support(run.config, "evaluate --discrepancy")
  if passes > 1:
    require_support(run.config, "evaluate --passes")
  objective = run.objective
  _, store = prepare.load(run.config, workdir)
  values = heldout.evaluator(run, store)(params)
  loss, accuracy = objective.token_loss_and_accuracy(values)
  unigram_entropy = store.info["heldout"].unigram_entropy
  if (
    not objective.token_term
    or corruption.bind(run.config.corruption).predicts_sentinels
  ):
    unigram_entropy = None
  loss_as_trained, bound = None, corruption.bind(run.config.corruption)
  if own := bound.heldout_as_trained():
    loss_as_trained, _ = objective.token_loss_and_accuracy(
      heldout.evaluator(run, store, own)(params)
    )
  return Evaluation(
    loss=loss,
    accuracy=accuracy,
    unit="nats per token" if objective.token_term else "nats",
    unigram_entropy=unigram_entropy,
    loss_as_trained=loss_as_trained,
    corruption=bound.describe(),
    terms={
      term.label: (values[f"{name}_loss"], values[f"{name}_accuracy"])
      for name, term in objective.terms.items()
      if len(objective.terms) > 1 and name != objective.token_term
    },
    metrics={name: values[name] for name in run.config.train.metric_names},
    joint_losses=(
      heldout.joint(run, store, params, passes) if passes > 1 else {}
    ),
    discrepancy=(
      heldout.discrepancy(run, store, params) if discrepancy else {}
    ),
  )
