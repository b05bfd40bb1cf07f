"""Pre-training: the phases of a recipe, one after the other."""

import dataclasses
import operator
from collections.abc import Callable, Mapping, Sequence

import jax

from mlm_jax import references
from mlm_jax.data import corruption, prepare
from mlm_jax.data.rows import Stores
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.phases import Phase, Recipe
from mlm_jax.training import (
  groups,
  loop,
  partitioning,
  preflight,
)
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.training.hooks import (
  Checkpointing,
  Clock,
  EarlyStopping,
  Evaluation,
  Evaluator,
  Hook,
  Logging,
  Moment,
  SkippedSteps,
)
from mlm_jax.training.log import Log
from mlm_jax.training.phase_run import PhaseRun, Reading
from mlm_jax.training.run import Run
from mlm_jax.training.state import TrainState
from mlm_jax.workdir import Workdir

# run, rows[, how to corrupt them] -> parameters -> held-out metrics.
MakeEvaluator = Callable[..., Evaluator]


def pretrain(
  recipe: Recipe,
  workdir: Workdir,
  make_evaluator: MakeEvaluator,
  hooks: Sequence[Hook] = (),
  *,
  stop_after_phase: str = "",
  force: bool = False,
) -> bool:
  """Trains all phases of a recipe, from the last checkpoint if there is one.

  Prepares tokenizer and rows first where they are missing. Ctrl-C or SIGTERM
  saves a checkpoint and returns; the same call continues from there, and ends
  with the same weights and metrics, bit for bit. `train.patience` may end the
  run early, in any phase.

  Args:
    recipe: what to train.
    workdir: where everything is kept.
    make_evaluator: returns what measures held-out metrics in a phase.
    hooks: more of them, run after evaluation and before saving.
    stop_after_phase: the name of the phase to end with, for now; the same call
      without it goes on.
    force: whether to train on rows that are found to be of no use.

  Returns:
    True if the run finished, or the phase to stop after; False if it was
    interrupted.

  Raises:
    InputError: recipe, corpus, mesh and work directory do not fit together.
  """
  recipe = workdir.with_ends(recipe)
  preflight.check(recipe, workdir, stop_after_phase)
  changed = workdir.changed(recipe)
  tokenizer, stores = _prepare(recipe, workdir)
  parts = [
    PhaseRun.of(number, *of_phase, tokenizer)
    for number, of_phase in enumerate(zip(recipe.phases, stores, strict=True))
  ]
  preflight.check_parts(parts, workdir, force)
  progress = _restore(recipe, workdir, [part.run for part in parts])
  recipe = workdir.with_ends(recipe)  # A checkpoint may have been set aside.
  with (
    Log(workdir, recipe.last_known_step, progress.step or -1) as log,
    loop.stop_signals() as is_interrupted,
  ):
    log.say(progress.describe(recipe))
    progress.record_changes(changed, recipe, log)
    for part in parts:
      # A phase in hours before it may have ended only now.
      part = part.of_phase(recipe.phases[part.number])
      if progress.step > part.phase.last_step:
        continue
      early_stopping = EarlyStopping(
        part.phase.config.train, workdir, part.phase.name, progress.step or -1
      )
      if not progress.is_at_end_of(part.phase):
        moment = progress.train(
          part,
          make_evaluator,
          [early_stopping, *hooks],
          workdir,
          log,
          is_interrupted,
        )
        is_interrupt = moment.stop and not early_stopping.is_over
        is_last = part.number == len(parts) - 1
        if is_interrupt and not (moment.ends_phase and is_last):
          log.say(
            f"Stopped at step {moment.step:,}; the same command continues from "
            "there"
          )
          return False
      recipe = progress.close(part.phase, recipe, workdir)
      if early_stopping.is_over:
        log.say(early_stopping.describe(progress.step))
        return True
      if part.phase.name == stop_after_phase:
        log.say(f"Stopped after phase {stop_after_phase!r}, as asked")
        return True
  return True


@dataclasses.dataclass
class _Progress:
  """How far a run is.

  Attributes:
    state: the state of training.
    step: its step.
    streams: the rows that were read of each stream.
    is_new: whether nothing was restored.
  """

  state: TrainState
  step: int
  streams: Mapping[str, int]
  is_new: bool = False

  def describe(self, recipe: Recipe) -> str:
    """Returns a line on where the run begins."""
    if self.is_new:
      expected = references.describe(recipe)
      return ". ".join(filter(None, ["Starting from random weights", expected]))
    if not self.step:
      return "Starting from the imported weights"
    if self.is_at_end_of(recipe.phases[-1]):
      return f"Nothing to train: already at step {self.step:,}"
    return f"Continuing from step {self.step:,}"

  def is_at_end_of(self, phase: Phase) -> bool:
    """Returns whether nothing of a phase is left to train."""
    if phase.is_open and self.step > phase.first_step:
      return float(self.state.hours) >= phase.config.train.hours
    return self.step == phase.last_step

  def record_changes(
    self, changed: Mapping[str, tuple], recipe: Recipe, log: Log
  ) -> None:
    """Records which keys have other values from here on: (old, new)."""
    if self.step and changed and not self.is_at_end_of(recipe.phases[-1]):
      new = {key: new for key, (_, new) in changed.items()}
      log.record(recipe.phase_at(self.step), self.step, "config", **new)

  def close(self, phase: Phase, recipe: Recipe, workdir: Workdir) -> Recipe:
    """Returns the recipe, and writes down where a phase in hours has ended."""
    if not (phase.is_open and self.is_at_end_of(phase)):
      return recipe
    recipe = recipe.ended(phase.name, self.step)
    if jax.process_index() == 0:
      workdir.save_recipe(recipe)
    return recipe

  def train(
    self,
    part: PhaseRun,
    make_evaluator: MakeEvaluator,
    hooks: Sequence[Hook],
    workdir: Workdir,
    log: Log,
    is_interrupted: Callable[[int], bool],
  ) -> Moment:
    """Trains a phase from here on; returns its last moment."""
    phase, run, train = part.phase, part.run, part.phase.config.train
    if part.number and self.step == phase.first_step:
      self.state = run.take_over(self.state)
      log.say(f"Phase {phase.name!r}: {phase.config.describe_length()}")
    else:
      self.state = jax.device_put(self.state, run.state_shardings)
    if frozen := groups.num_frozen(self.state.params, phase.config.optim):
      total = sum(x.size for x in jax.tree.leaves(self.state.params))
      log.say(f"Frozen: {frozen:,} of {total:,} parameters")
    reading = Reading(part, self.state, self.streams)
    with Checkpoints(workdir, train, log.say) as checkpoints:
      first, last = [], []
      if phase.config.data.is_evaluated:
        first = _evaluations(part, make_evaluator)
      last = [
        SkippedSteps(
          phase,
          log,
          lambda state, step: part.diagnose(
            state, step, reading.stream, reading.place(state)
          ),
        ),
        Checkpointing(train, checkpoints, part.number, reading.streams),
        Logging(phase, log, part.flops_per_token, reading.epochs),
      ]
      moment = loop.train(
        run,
        phase,
        self.state,
        reading.batches(),
        [Clock(phase), *first, *hooks, *last],
        log,
        is_interrupted,
      )
    self.state, self.step = moment.state, moment.step
    self.streams = reading.streams(moment.state)
    return moment


def _prepare(
  recipe: Recipe, workdir: Workdir
) -> tuple[Tokenizer, list[Stores]]:
  """Returns the tokenizer, and the rows of each phase."""
  if jax.process_index() == 0:
    for key, (old, new) in workdir.changed(recipe).items():
      print(f"{key} is {new!r} from here on, and was {old!r}")
    prepare.prepare_phases(recipe, workdir)
  partitioning.wait_for_all("prepared")
  loaded = [prepare.load(phase.config, workdir) for phase in recipe.phases]
  return loaded[0][0], [stores for _, stores in loaded]


def _restore(
  recipe: Recipe, workdir: Workdir, runs: Sequence[Run]
) -> _Progress:
  """Returns where the run continues, or its beginning."""
  # All phases have the same arrays, each on its own mesh.
  phase = recipe.phase_at(workdir.last_step)
  run = runs[recipe.phases.index(phase)]
  with Checkpoints(workdir, phase.config.train) as checkpoints:
    state = checkpoints.restore(run.abstract_state, run.init_state)
    if state is None:
      return _Progress(runs[0].init_state(), 0, {}, is_new=True)
    step = int(state.step)
    return _Progress(state, step, checkpoints.streams(step))


def _evaluations(
  part: PhaseRun, make_evaluator: MakeEvaluator
) -> list[Evaluation]:
  """Returns the evaluation of a phase, by its own corruption, of averages."""
  train = part.phase.config.train
  bound = corruption.bind(part.phase.config.corruption)
  evaluate = make_evaluator(part.run, part.stores)
  found = [Evaluation(train, evaluate, bound.describe_heldout())]
  if own := bound.heldout_as_trained():
    as_trained = make_evaluator(part.run, part.stores, own)
    described = bound.describe()
    found.append(Evaluation(train, as_trained, described, suffix="_as_trained"))
  if part.phase.config.optim.ema_decay:
    found.append(
      Evaluation(
        train,
        evaluate,
        bound.describe_heldout(),
        suffix="_ema",
        params_of=operator.attrgetter("averages"),
      )
    )
  return found
