"""Checkpoints: what Orbax keeps, and which of them can be trusted."""

from collections.abc import Callable

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from mlm_jax.config import InputError, TrainConfig
from mlm_jax.training.step import TrainState
from mlm_jax.workdir import Workdir


class Checkpoints:
  """The checkpoints of a work directory; saving goes on in the background.

  A checkpoint has two items, so that inference reads the first alone: `params`
  and `rest`, the other fields of the state.

  Args:
    workdir: whose.
    train: how many to keep; None only reads.
    say: is told of checkpoints that cannot be read.
  """

  def __init__(
    self,
    workdir: Workdir,
    train: TrainConfig | None = None,
    say: Callable[[str], None] = print,
  ):
    self._workdir = workdir
    self._say = say
    kept = []
    if train:
      kept.append(policies.LatestN(train.keep_last))
    if train and train.keep_best:
      best = policies.BestN(
        get_metric_fn=lambda metrics: metrics["loss"],
        reverse=True,
        n=train.keep_best,
        keep_checkpoints_without_metrics=False,
      )
      kept.append(best)
    self._manager = ocp.CheckpointManager(
      workdir.checkpoints,
      options=ocp.CheckpointManagerOptions(
        read_only=train is None,
        preservation_policy=policies.AnyPreservationPolicy(kept) if kept else None,
        cleanup_tmp_directories=train is not None,
      ),
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._manager.close()  # Waits for what is still being written.

  def save(self, state: TrainState, heldout: dict[str, float] | None) -> None:
    """Saves `state`; `heldout`, if it was just measured, ranks it."""
    rest = {k: v for k, v in vars(state).items() if k != "params"}
    self._manager.save(
      int(state.step),
      args=ocp.args.Composite(
        params=ocp.args.StandardSave(state.params),
        rest=ocp.args.StandardSave(rest),
      ),
      metrics=heldout,
    )

  def restore(self, like: TrainState) -> TrainState | None:
    """Returns the last state that can be read, None where there is none.

    A checkpoint that cannot be read is set aside, and the one before it used.

    Args:
      like: shapes, dtypes and shardings, from `Run.abstract_state`.

    Raises:
      InputError: there are checkpoints, and none can be read.
    """
    rest = {k: v for k, v in vars(like).items() if k != "params"}
    items = self._restore({"params": like.params, "rest": rest}, set_aside=True)
    return items and TrainState(params=items["params"], **items["rest"])

  def restore_params(self, like):
    """Returns the parameters of the last checkpoint that can be read.

    Raises:
      InputError: there is none.
    """
    items = self._restore({"params": like}, set_aside=False)
    if items is None:
      raise InputError(f"{self._workdir.root} has no checkpoint: train it first")
    return items["params"]

  def _restore(self, like, set_aside):
    steps = sorted(self._manager.all_steps(read=True), reverse=True)
    for step in steps:
      try:
        restored = self._manager.restore(
          step,
          args=ocp.args.Composite(
            **{k: ocp.args.StandardRestore(v) for k, v in like.items()}
          ),
        )
        # Reading is lazy in part; better to learn of a broken file here.
        jax.block_until_ready(restored)
        return dict(restored.items())
      except Exception as error:  # Whatever a broken file makes Orbax raise.
        reason = str(error).strip().partition("\n")[0][:120]
        self._say(f"Checkpoint {step} cannot be read ({reason})")
        if set_aside:
          self._set_aside(step)
    if steps:
      raise InputError(f"no checkpoint in {self._workdir.checkpoints} can be read")
    return None

  def _set_aside(self, step):
    broken = self._workdir.checkpoints / str(step)
    aside = self._workdir.root / "broken_checkpoints" / str(step)
    if jax.process_index() == 0:
      aside.parent.mkdir(parents=True, exist_ok=True)
      if aside.exists():
        aside.rmtree()
      broken.rename(aside)
      self._say(f"Moved it to {aside}; trying the one before")
    self._manager.reload()
