"""What is checked before a run prepares, restores and compiles."""

from collections.abc import Sequence

import jax

from mlm_jax.data import checkup, prepare
from mlm_jax.data.stream import Stream, leave_out
from mlm_jax.errors import require, unknown
from mlm_jax.phases import Recipe
from mlm_jax.training import partitioning, schedules
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.training.phase_run import PhaseRun
from mlm_jax.workdir import Workdir

# How much more the rate may be where a phase that has ended goes on.
_MOST_RISE = 1.1


def check(recipe: Recipe, workdir: Workdir, stop_after_phase: str) -> None:
  """Raises InputError for what should not come up after hours of preparing."""
  names = [phase.name for phase in recipe.phases]
  if stop_after_phase and stop_after_phase not in names:
    raise unknown("--stop_after_phase", stop_after_phase, names)
  workdir.check(recipe)
  _check_skipped_rows(recipe, workdir)
  _check_extension(recipe, workdir)
  for phase in recipe.phases:
    partitioning.make_mesh(phase.config)


def _check_skipped_rows(recipe: Recipe, workdir: Workdir) -> None:
  """Raises InputError where `data.skip_rows` would repeat or lose rows."""
  step = workdir.last_step
  if not step:
    return
  old, new = (
    one.phase_at(step).config for one in (workdir.load_recipe(), recipe)
  )
  ranges = [one.data.skipped_ranges for one in (old, new)]
  if ranges[0] == ranges[1]:
    return
  stores = prepare.recorded(new, workdir)
  if stores is None:
    return
  with Checkpoints(workdir) as checkpoints:
    stream = Stream(new, stores.sources, checkpoints.streams(step))
  # The last row that was read.
  before, after = (int(leave_out(one, stream.place - 1)) for one in ranges)
  require(
    not stream.place or before == after,
    f"data.skip_rows={new.data.skip_rows!r} cannot replace "
    f"{old.data.skip_rows!r}: {workdir.root} has read the stream "
    f"{stream.name!r} to row {before:,}, so ranges up to there must stay, and "
    "new ones begin after it",
  )


def _check_extension(recipe: Recipe, workdir: Workdir) -> None:
  """Raises InputError where more steps would undo the decay of the rate."""
  step = workdir.last_step
  if not step:
    return
  old, new = (one.phase_at(step) for one in (workdir.load_recipe(), recipe))
  if not old.last_step == step < new.last_step:
    return
  last = old.config.train.hours or step - 1
  rate = schedules.of_phase(old.config, old.first_step)(last)
  next_rate = schedules.of_phase(new.config, new.first_step)(step)
  require(
    next_rate <= _MOST_RISE * rate,
    f"phase {old.name!r} of {workdir.root} ended at step {step:,} with a "
    f"learning rate of {rate:.3g}, which more steps of it would raise to "
    f"{next_rate:.3g} at once: append a phase to the recipe, with its own "
    "optim.peak_lr and warmup",
  )


def check_parts(
  parts: Sequence[PhaseRun], workdir: Workdir, force: bool
) -> None:
  """Checks the weights and the rows of all phases.

  Args:
    parts: of the run.
    workdir: where it is.
    force: whether to train on rows that are found to be of no use.

  Raises:
    InputError: phases have other weights, or rows are of no use.
  """
  _check_weights(parts)
  if not workdir.last_step:
    _check_rows(parts, force)


def _check_weights(parts: Sequence[PhaseRun]) -> None:
  """Raises InputError where a phase has other weights than the first.

  Recipes refuse other keys of scope "weights"; an objective of a recipe file
  may have weights of its own all the same.
  """
  shapes = [
    jax.tree.map(lambda x: x.shape, part.run.abstract_state.params)
    for part in parts
  ]
  first = parts[0].phase.name
  for part, found in zip(parts, shapes, strict=True):
    require(
      found == shapes[0],
      f"phase {part.phase.name!r} has other weights than phase {first!r}: the "
      "same objective.name must train both",
    )


def _check_rows(parts: Sequence[PhaseRun], force: bool) -> None:
  """Says what rows are like, if that may not be meant, or raises InputError."""
  said = set()
  for part in parts:
    found = checkup.of_rows(part.phase.config, part.stores, part.run.vocab)
    for finding in found:
      line = f"{finding.name}: {finding.text}"
      if finding.level == "ok" or line in said:
        continue
      require(
        force or finding.level == "look",
        f"{line}. `doctor` shows more; --force trains on them all the same",
      )
      said.add(line)
      if jax.process_index() == 0:
        print(line[0].upper() + line[1:])
