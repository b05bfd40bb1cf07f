"""The evaluation of a trained model on its held-out documents."""

import dataclasses
import math
from collections.abc import Mapping

from mlm_jax.data import corruption, prepare
from mlm_jax.errors import require
from mlm_jax.evaluation import heldout
from mlm_jax.objectives import require_support
from mlm_jax.training.restoring import restore
from mlm_jax.workdir import Workdir

_MOST_NATS = 700.0


@dataclasses.dataclass(frozen=True)
class TextResult:
  """Results on one text.

  Attributes:
    loss: in nats per token.
    accuracy: of the same targets.
    perplexity: e to the power of the loss; None where targets are no tokens.
    bits_per_byte: the loss of each byte of the text, in bits, which can be
      compared between tokenizers; None, too, where its bytes were not counted.
  """

  loss: float
  accuracy: float
  perplexity: float | None
  bits_per_byte: float | None


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Results on text that was not trained on; losses are in nats.

  Attributes:
    texts: the results on each text, by its name; of one alone, its own.
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

  texts: Mapping[str, TextResult]
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
  corpus: str = "",
  passes: int = 1,
  discrepancy: bool = False,
) -> Evaluation:
  """Evaluates a checkpoint on the held-out rows of its work directory.

  Args:
    workdir: of a prepared and trained run.
    checkpoint: "last", "best" or a step.
    corpus: what to evaluate on instead, as data.corpus has it.
    passes: over 1, also measures the joint losses (see `heldout.joint`).
    discrepancy: also measures the loss for other inputs than [MASK] (see
      `heldout.discrepancy`).

  Raises:
    InputError: the run has no held-out rows or no such checkpoint, or its
      objective has no such measurement.
  """
  run, params, _, step, _ = restore(workdir, checkpoint)
  require(
    corpus or run.config.data.is_evaluated,
    f"{workdir.root} has no held-out documents at step {step}: "
    "data.heldout_fraction is 0, and there is no data.validation; --corpus "
    "takes a text to evaluate on",
  )
  if discrepancy:
    require_support(run.config, "evaluate --discrepancy")
  if passes > 1:
    require_support(run.config, "evaluate --passes")
  objective = run.objective
  if corpus:
    stores = prepare.evaluated(run.config, corpus, workdir)
  else:
    _, stores = prepare.load(run.config, workdir)
  measured = heldout.evaluator(run, stores)(params)
  values = measured["heldout"]
  loss, accuracy = objective.token_loss_and_accuracy(values)
  unigram_entropy = stores.unigram_entropy
  if (
    not objective.token_term
    or corruption.bind(run.config.corruption).predicts_sentinels
  ):
    unigram_entropy = None
  loss_as_trained, bound = None, corruption.bind(run.config.corruption)
  if own := bound.heldout_as_trained():
    loss_as_trained, _ = objective.token_loss_and_accuracy(
      heldout.evaluator(run, stores, own)(params)["heldout"]
    )
  return Evaluation(
    texts=_by_text(objective, stores, measured),
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
      heldout.joint(run, stores, params, passes) if passes > 1 else {}
    ),
    discrepancy=(
      heldout.discrepancy(run, stores, params) if discrepancy else {}
    ),
  )


def _by_text(objective, stores, measured) -> dict[str, TextResult]:
  found = {}
  for name, (store, split) in stores.evaluated.items():
    info = store.info[split]
    loss, accuracy = objective.token_loss_and_accuracy(measured[name])
    perplexity = bits_per_byte = None
    if objective.token_term:
      # A model that diverged has more than floating point can hold.
      perplexity = math.exp(loss) if loss < _MOST_NATS else math.inf
      if info.bytes:
        bits_per_byte = loss / math.log(2) * info.tokens / info.bytes
    found[name] = TextResult(loss, accuracy, perplexity, bits_per_byte)
  return found
