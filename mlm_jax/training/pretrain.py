"""Pre-training: the phases of a recipe, one after the other."""

from collections.abc import Callable, Sequence

import jax

from mlm_jax.data import pipeline, prepare
from mlm_jax.data.host_tensorflow import iterate
from mlm_jax.data.rows import RowStore
from mlm_jax.errors import require
from mlm_jax.phases import Phase, Recipe
from mlm_jax.training import loop, partitioning
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.training.hooks import (
  Checkpointing,
  EarlyStopping,
  Evaluation,
  Evaluator,
  Hook,
  Logging,
  Moment,
)
from mlm_jax.training.log import Log
from mlm_jax.training.run import Run
from mlm_jax.training.state import TrainState, counter_value, zero_sums
from mlm_jax.vocabulary import Vocabulary
from mlm_jax.workdir import Workdir


def pretrain(
  recipe: Recipe,
  workdir: Workdir,
  make_evaluator: Callable[[Run, RowStore], Evaluator],
  hooks: Sequence[Hook] = (),
) -> bool:
  """Trains all phases of a recipe, from the last checkpoint if there is one.

  Prepares tokenizer and rows first where they are missing. Ctrl-C or SIGTERM
  saves a checkpoint and returns; the same call continues from there, and ends
  with the same weights and metrics, bit for bit. `train.patience` may end the
  run early.

  Args:
    recipe: what to train.
    workdir: where everything is kept.
    make_evaluator: run, rows -> parameters -> held-out metrics.
    hooks: more of them, run after evaluation and before saving.

  Returns:
    True if the run finished; False if it was interrupted.

  Raises:
    InputError: recipe, corpus, mesh and work directory do not fit together.
  """
  workdir.check(recipe)
  # An error in the mesh should not come up after hours of preparing.
  for phase in recipe.phases:
    partitioning.make_mesh(phase.config)
  vocab, stores = _prepare(recipe, workdir)
  state, begun = _restore(recipe, workdir, vocab)
  step = int(state.step)
  with (
    Log(workdir, recipe.last_step, step or -1) as log,
    loop.stop_signals() as is_interrupted,
  ):
    log.say(begun)
    for index, phase in enumerate(recipe.phases):
      if step >= phase.last_step and phase != recipe.phases[-1]:
        continue
      run = Run.on(phase.config, vocab, first_step=phase.first_step)
      if index and step == phase.first_step:
        log.say(f"Phase {phase.name!r}: {phase.config.train.steps:,} steps")
        same_rows = stores[index].path == stores[index - 1].path
        state = _enter(run, state, same_rows)
      evaluate = None
      if phase.config.data.heldout_fraction:
        evaluate = make_evaluator(run, stores[index])
      early_stopping = EarlyStopping(
        phase.config.train, workdir, phase.name, step or -1
      )
      with Checkpoints(workdir, phase.config.train, log.say) as checkpoints:
        moment = loop.train(
          run,
          phase,
          state,
          _batches(run, phase, state, stores[index]),
          [
            *([Evaluation(phase.config.train, evaluate)] if evaluate else []),
            early_stopping,
            *hooks,
            Checkpointing(phase.config.train, checkpoints),
            Logging(phase, log, run.objective.flops_per_token),
          ],
          log,
          is_interrupted,
        )
      state, step = moment.state, moment.step
      if (moment.stop and step < recipe.last_step) or early_stopping.is_over:
        log.say(_why_stopped(moment, early_stopping))
        return early_stopping.is_over
  return True


def _prepare(
  recipe: Recipe, workdir: Workdir
) -> tuple[Vocabulary, list[RowStore]]:
  """Returns the vocabulary, and the row store of each phase."""
  if jax.process_index() == 0:
    for key, (old, new) in workdir.changed(recipe).items():
      print(f"{key} is {new!r} from here on, and was {old!r}")
    prepare.prepare_phases(recipe, workdir)
  partitioning.wait_for_all("prepared")
  loaded = [prepare.load(phase.config, workdir) for phase in recipe.phases]
  return loaded[0][0].vocabulary, [store for _, store in loaded]


def _restore(
  recipe: Recipe, workdir: Workdir, vocab: Vocabulary
) -> tuple[TrainState, str]:
  """Returns the state to begin with, and a line about it."""
  # All phases have the same parameters and optimizer state.
  run = Run.on(recipe.phases[0].config, vocab)
  with Checkpoints(workdir, run.config.train) as checkpoints:
    state = checkpoints.restore(run.abstract_state, run.init_state)
  if state is None:
    return run.init_state(), "Starting from random weights"
  step, last_step = int(state.step), recipe.last_step
  require(
    step <= last_step,
    f"{workdir.root} is at step {step}, past train.steps={last_step}",
  )
  if not step:
    return state, "Starting from the imported weights"
  if step == last_step:
    return state, f"Nothing to train: already at step {step:,}"
  return state, f"Continuing from step {step:,}"


def _enter(run: Run, state: TrainState, same_rows: bool) -> TrainState:
  """Returns the state at the end of a phase as the next one begins with it.

  Rows that another store holds are a stream of their own, read from its
  beginning; those of the same store go on where they were.
  """

  def enter(state: TrainState) -> TrainState:
    stream_start = state.stream_start if same_rows else state.rows_seen
    return state.replace(
      metric_sums=zero_sums(run.objective.terms), stream_start=stream_start
    )

  shardings = run.state_shardings
  return jax.jit(enter, out_shardings=shardings, donate_argnums=0)(state)


def _batches(run: Run, phase: Phase, state: TrainState, store: RowStore):
  """Returns an iterator over the batches of the phase from a state on."""
  rows = counter_value(state.rows_seen) - counter_value(state.stream_start)
  dataset = pipeline.train_batches(
    run.config,
    store,
    run.vocab,
    first_step=int(state.step) - phase.first_step,
    first_row=rows,
    local_rows=run.local_rows,
  )
  return iterate(dataset)


def _why_stopped(moment: Moment, early_stopping: EarlyStopping) -> str:
  stopped = f"Stopped at step {moment.step:,}"
  if early_stopping.is_over:
    best = early_stopping.best_step
    return f"{stopped}: the held-out loss has not fallen since step {best:,}"
  return f"{stopped}; the same command continues from there"
