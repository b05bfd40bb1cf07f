"""Pre-training: the phases of a recipe, one after the other."""

import dataclasses
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence

import jax
import numpy as np

from mlm_jax import references
from mlm_jax.data import corruption, pipeline, prepare
from mlm_jax.data.host_tensorflow import iterate
from mlm_jax.data.rows import Stores
from mlm_jax.data.stream import Stream
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.phases import ONLY_PHASE, Phase, Recipe
from mlm_jax.training import (
  diagnosis,
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
from mlm_jax.training.run import Run
from mlm_jax.training.state import TrainState, counter_value
from mlm_jax.workdir import Workdir

# From which the lengths of documents are taken for the utilisation.
_ROWS_FOR_FLOPS = 256

# run, rows[, how to corrupt them] -> parameters -> held-out metrics.
MakeEvaluator = Callable[..., Evaluator]


def pretrain(
  recipe: Recipe,
  workdir: Workdir,
  make_evaluator: MakeEvaluator,
  hooks: Sequence[Hook] = (),
  *,
  stop_after_phase: str = "",
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

  Returns:
    True if the run finished, or the phase to stop after; False if it was
    interrupted.

  Raises:
    InputError: recipe, corpus, mesh and work directory do not fit together.
  """
  preflight.check(recipe, workdir, stop_after_phase)
  changed = workdir.changed(recipe)
  tokenizer, stores = _prepare(recipe, workdir)
  parts = [
    _PhaseOfRun.of(number, phase, of_phase, tokenizer)
    for number, (phase, of_phase) in enumerate(
      zip(recipe.phases, stores, strict=True)
    )
  ]
  preflight.check_weights(recipe, [part.run for part in parts])
  progress = _restore(recipe, workdir, [part.run for part in parts])
  with (
    Log(workdir, recipe.last_known_step, progress.step or -1) as log,
    loop.stop_signals() as is_interrupted,
  ):
    log.say(progress.describe(recipe))
    if progress.step and changed and not progress.is_at_end_of(parts[-1].phase):
      new = {key: new for key, (_, new) in changed.items()}
      log.record(recipe.phase_at(progress.step), progress.step, "config", **new)
    for part in parts:
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
        if is_interrupt and not (moment.ends_phase and part is parts[-1]):
          log.say(
            f"Stopped at step {moment.step:,}; the same command continues from "
            "there"
          )
          return False
      if early_stopping.is_over:
        log.say(
          f"Stopped at step {progress.step:,}: the held-out loss has not "
          f"fallen since step {early_stopping.best_step:,}"
        )
        return True
      if part.phase.name == stop_after_phase:
        log.say(f"Stopped after phase {stop_after_phase!r}, as asked")
        return True
  return True


@dataclasses.dataclass(frozen=True)
class _PhaseOfRun:
  """A phase with all that it is trained by."""

  number: int
  phase: Phase
  run: Run
  stores: Stores
  tokenizer: Tokenizer

  @classmethod
  def of(
    cls, number: int, phase: Phase, stores: Stores, tokenizer: Tokenizer
  ) -> "_PhaseOfRun":
    run = Run.on(
      phase.config, tokenizer.vocabulary, first_step=phase.first_step
    )
    _ = run.state_shardings  # Raises where an array does not divide.
    return cls(number, phase, run, stores, tokenizer)

  @property
  def flops_per_token(self) -> float:
    """Those of training, by the documents of some rows of each source."""
    rows_BL = np.concatenate(
      [
        store.read("train", np.arange(min(_ROWS_FOR_FLOPS, count)))
        for store in self.stores.sources.values()
        if (count := store.info["train"].num_rows)
      ]
    )
    return self.run.objective.flops_per_token_within(rows_BL)

  def diagnose(
    self, state: TrainState, step: int, stream: Stream, place: int
  ) -> list[str]:
    """Returns lines on why a step was skipped.

    Args:
      state: of that step or a later one.
      step: the step that was skipped.
      stream: what the phase reads.
      place: the number of rows of the stream read before `state`.
    """
    data, timeline = self.phase.config.data, self.phase.config.timeline
    steps_since = int(state.step) - step + 1
    of_phase = step - 1 - self.phase.first_step
    batch_size = timeline.batch_size(of_phase)
    first_row = place + timeline.rows_before(of_phase)
    first_row -= timeline.rows_before(of_phase + steps_since)
    # Batches are a function of their place: this one need not be kept.
    batches = _batches(self, stream, of_phase, first_row)
    start, stop = self.run.local_rows(batch_size)
    rows = [stream.position(first_row + n) for n in range(start, stop)]
    key = "data.skip_rows"
    if self.phase.name != ONLY_PHASE:
      key = f"phases.{self.phase.name}.{key}"
    skip = f"{rows[0]}..{rows[-1] + 1}"
    if data.skip_rows:
      skip = f"{data.skip_rows},{skip}"
    # Its step is that of the random key.
    before = state.replace(step=state.step - steps_since)
    return [
      f"its rows: {rows[0]:,} to {rows[-1]:,} of the stream {stream.name!r}",
      *diagnosis.diagnose(
        self.run, before, next(batches), rows, self.tokenizer.decode
      ),
      "the last checkpoint is good. To leave rows out when it is continued: "
      f"--config.{key}={skip}",
    ]


class _Reading:
  """The rows that a phase reads from a state on, and how many were read.

  Args:
    part: the phase.
    state: where it begins, or is continued.
    streams: the rows that were read of each stream until then.
  """

  def __init__(
    self, part: _PhaseOfRun, state: TrainState, streams: Mapping[str, int]
  ):
    self.stream = Stream(part.phase.config, part.stores.sources, streams)
    self._part, self._others = part, dict(streams)
    self._rows_seen = counter_value(state.rows_seen)
    self._first_step = int(state.step) - part.phase.first_step

  def batches(self) -> Iterator[dict[str, np.ndarray]]:
    return _batches(
      self._part, self.stream, self._first_step, self.stream.place
    )

  def place(self, state: TrainState) -> int:
    """Returns how many rows of the stream were read before a state."""
    read = counter_value(state.rows_seen) - self._rows_seen
    return self.stream.place + read

  def streams(self, state: TrainState) -> dict[str, int]:
    """Returns how many rows of each stream were read before a state."""
    return self._others | self.stream.after(self.place(state))

  def epochs(self, step: int) -> dict[str, float]:
    """Returns how often each source was read before a step of the run."""
    rows_before = self._part.phase.config.timeline.rows_before
    read = rows_before(step - self._part.phase.first_step)
    read -= rows_before(self._first_step)
    return self.stream.epochs(self.stream.place + read)


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
    hours = phase.config.train.hours
    if hours and self.step > phase.first_step:
      return float(self.state.hours) >= hours
    return self.step == phase.last_step

  def train(
    self,
    part: _PhaseOfRun,
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
    reading = _Reading(part, self.state, self.streams)
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
  part: _PhaseOfRun, make_evaluator: MakeEvaluator
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


def _batches(
  part: _PhaseOfRun, stream: Stream, first_step: int, first_row: int
) -> Iterator[dict[str, np.ndarray]]:
  """Returns an iterator over the batches of a phase from a step of it on."""
  dataset = pipeline.train_batches(
    part.run.config,
    stream,
    part.run.vocab,
    first_step=first_step,
    first_row=first_row,
    local_rows=part.run.local_rows,
  )
  return iterate(dataset)
