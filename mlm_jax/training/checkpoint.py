"""Checkpoints: saved by Orbax, verified by checksums of our own."""

import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from mlm_jax.config import TrainConfig
from mlm_jax.errors import InputError, first_line, require, unknown
from mlm_jax.training.state import FORMAT_VERSION, TrainState
from mlm_jax.workdir import Workdir


class Checkpoints:
  """The checkpoints of a work directory; saving goes on in the background.

  A checkpoint has the items `params`, `averages` where there are any, and
  `rest`, the other fields of the state, so that inference reads one of the
  first alone; `checksums`, since Orbax restores arrays with a flipped bit
  without a word; and `format`, the version of the state and which items there
  are.

  Args:
    workdir: the work directory.
    train: how many to keep; None only reads.
    say: receives messages about checkpoints that cannot be read.
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
        get_metric_fn=_rank,
        reverse=True,
        n=train.keep_best,
        keep_checkpoints_without_metrics=False,
      )
      kept.append(best)
    self._manager = ocp.CheckpointManager(
      workdir.checkpoints,
      options=ocp.CheckpointManagerOptions(
        # Orbax writes metrics down only where these are given.
        best_fn=_rank,
        best_mode="min",
        read_only=train is None,
        preservation_policy=policies.AnyPreservationPolicy(kept)
        if kept
        else None,
      ),
    )
    if train and jax.process_index() == 0:
      # Orbax would do it in the background, where two managers of one process
      # get in each other's way, and the next save fails.
      for path in workdir.checkpoints.iterdir():
        if ocp.utils.is_tmp_checkpoint(path):
          path.rmtree()

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._manager.close()  # Waits for what is still being written.

  def save(
    self,
    state: TrainState,
    heldout: Mapping[str, float] | None,
    *,
    phase: int = 0,
    streams: Mapping[str, int] | None = None,
  ) -> None:
    """Saves a state.

    Args:
      state: what to save.
      heldout: the held-out metrics, if they were just measured. The lowest loss
        of the latest phase is the best: losses of two phases do not compare.
      phase: the number of the phase.
      streams: the rows that were read of each stream.
    """
    metrics = heldout and {"loss": heldout["loss"], "phase": phase}
    self._save(int(state.step), _split(state), metrics, streams)

  def save_params(self, params) -> None:
    """Saves the parameters that a run is to start from, as its step 0."""
    self._save(0, {"params": params})

  def _save(self, step, items, metrics=None, streams=None):
    about = {
      "version": FORMAT_VERSION,
      "items": list(items),
      "streams": dict(streams or {}),
    }
    self._manager.save(
      step,
      args=ocp.args.Composite(
        **{k: ocp.args.StandardSave(v) for k, v in items.items()},
        checksums=ocp.args.JsonSave(
          {k: _checksums(v) for k, v in items.items()}
        ),
        format=ocp.args.JsonSave(about),
      ),
      metrics=metrics,
    )

  def restore(
    self, like: TrainState, begin: Callable[..., TrainState]
  ) -> TrainState | None:
    """Returns the last state that can be read, None where there is none.

    A checkpoint that cannot be read is set aside, and the one before it used.

    Args:
      like: shapes, dtypes and shardings, from `Run.abstract_state`.
      begin: makes a state of parameters that `save_params` left.

    Raises:
      InputError: there are checkpoints, and none can be read.
    """
    self._manager.reload()
    steps = self._manager.all_steps()
    self._check_version(steps)
    items = self._restore(_split(like), set_aside=True, steps=steps)
    if items is None:
      return None
    if "rest" not in items:
      return begin(items["params"])
    return TrainState(
      params=items["params"], averages=items.get("averages"), **items["rest"]
    )

  def streams(self, step: int) -> dict[str, int]:
    """Returns the rows that a checkpoint's run had read of each stream."""
    return self._format(step).get("streams", {})

  def restore_params(self, like, which: str = "last") -> tuple[Any, int]:
    """Returns parameters and their step.

    Args:
      like: shapes, dtypes and shardings.
      which: "last", the last checkpoint that can be read; "best", the one with
        the lowest held-out loss; or a step. Of each with ":ema" appended, the
        running average of its parameters.

    Raises:
      InputError: there is none.
    """
    which, _, part = which.partition(":")
    if part not in ("", "ema"):
      raise unknown("part of a checkpoint", part, ["ema"])
    item = "averages" if part else "params"
    steps = self._manager.all_steps()
    if which != "last" and steps:
      steps = self.steps_of(which)
    if part and steps:
      require(
        item in self._format(max(steps))["items"],
        f"checkpoint {max(steps)} has no running average of its weights: it "
        "was trained with optim.ema_decay=0",
      )
    items = self._restore({item: like}, set_aside=False, steps=steps)
    if items is None:
      raise InputError(
        f"{self._workdir.root} has no checkpoint: train it first"
      )
    return items[item], items["step"]

  def steps_of(self, which: str) -> list[int]:
    """Returns the steps of the checkpoints that a name stands for.

    Args:
      which: "last"; "best", the one with the lowest held-out loss of the latest
        phase that was evaluated; "best3", the three; or a step.

    Raises:
      InputError: there are none.
    """
    steps = self._manager.all_steps()
    if which == "last" and steps:
      return [max(steps)]
    if number := re.fullmatch(r"best(\d*)", which):
      count = int(number[1] or 1)
      ranked = {
        step: _rank(metrics)
        for step in steps
        if (metrics := self._manager.metrics(step))
      }
      # Losses of two phases do not compare.
      phase = min((rank[0] for rank in ranked.values()), default=0)
      ranked = {s: rank for s, rank in ranked.items() if rank[0] == phase}
      require(ranked, "no checkpoint was ever evaluated: use last")
      require(
        0 < count <= len(ranked),
        f"{which}: {self._workdir.root} has {len(ranked)} evaluated "
        "checkpoints of its last phase; train.keep_best says how many are kept",
      )
      return sorted(ranked, key=ranked.get)[:count]
    require(
      which in map(str, steps),
      f"no checkpoint {which!r}; there are: last, best, "
      + ", ".join(map(str, steps)),
    )
    return [int(which)]

  def _restore(self, like, set_aside, steps):
    broken = []
    for step in sorted(steps, reverse=True):
      try:
        restored, reason = self._read(step, like), ""
      except Exception as error:  # Whatever a broken file makes Orbax raise.
        restored, reason = None, first_line(error)[:120]
      # What one process cannot read, none may use.
      if _on_every_process(restored is not None):
        # Only now is it sure that the fault is theirs.
        if set_aside and broken:
          self._set_aside(broken)
          self._say(f"Using checkpoint {step}")
        return {"step": step, **restored}
      if reason:
        self._say(f"Checkpoint {step} cannot be read ({reason})")
      broken.append(step)
    if broken:
      raise InputError(
        f"no checkpoint in {self._workdir.checkpoints} can be read"
      )
    return None

  def _read(self, step, like):
    if "rest" not in self._format(step)["items"]:
      like = {"params": like["params"]}
    args = {k: ocp.args.StandardRestore(v) for k, v in like.items()}
    items = self._manager.restore(
      step,
      args=ocp.args.Composite(**args, checksums=ocp.args.JsonRestore()),
    )
    for name in like:
      for array, checksum in _checksums(items[name]).items():
        if items["checksums"][name][array] != checksum:
          raise ValueError(f"checksum of {array} differs")
    return {name: items[name] for name in like}

  def _format(self, step) -> dict:
    """Returns a checkpoint's format; the first version did not write one."""
    if not (self._workdir.checkpoints / str(step) / "format").exists():
      items = ["params", "rest"] if step else ["params"]
      return {"version": 1, "items": items}
    return self._manager.restore(
      step, args=ocp.args.Composite(format=ocp.args.JsonRestore())
    )["format"]

  def _check_version(self, steps):
    """Raises InputError if the last state is one of another version."""
    formats = {}
    for step in steps:
      # What is damaged is found, and set aside, when it is restored.
      with contextlib.suppress(Exception):
        formats[step] = self._format(step)
    versions = {found["version"] for found in formats.values()}
    if not formats or FORMAT_VERSION in versions:
      return
    last = max(formats)
    require(
      "rest" not in formats[last]["items"],
      f"checkpoint {last} in {self._workdir.checkpoints} has format "
      f"{formats[last]['version']}, this mlm_jax continues format "
      f"{FORMAT_VERSION}: its parameters can be evaluated, used and exported "
      "(export_hf, then import_hf starts a new run from them)",
    )

  def _set_aside(self, steps):
    for step in steps if jax.process_index() == 0 else ():
      aside = self._workdir.root / "broken_checkpoints" / str(step)
      aside.parent.mkdir(parents=True, exist_ok=True)
      if aside.exists():
        aside.rmtree()
      (self._workdir.checkpoints / str(step)).rename(aside)
      self._say(f"Moved it to {aside}")
    _on_every_process(True)  # Waits for the first one.
    self._manager.reload()


def _rank(metrics: Mapping[str, float]) -> tuple[float, float]:
  """Returns what sorts first for the best checkpoint."""
  return -metrics.get("phase", 0), metrics["loss"]


def _on_every_process(ok: bool) -> bool:
  if jax.process_count() == 1:
    return ok
  return bool(multihost_utils.process_allgather(np.array(ok)).all())


def _split(state: TrainState) -> dict:
  rest, items = dict(vars(state)), {}
  for name in ("params", "averages"):
    item = rest.pop(name)
    if item is not None:
      items[name] = item
  return items | {"rest": rest}


def _checksums(tree) -> dict[str, int]:
  """Returns the sum of each array's words, which no sharding changes."""
  sums = jax.device_get(_word_sums(tree))
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): int(total)
    for path, total in jax.tree.leaves_with_path(sums)
  }


@jax.jit
def _word_sums(tree):
  def word_sum(x):
    words = jax.lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}")
    return jnp.sum(words, dtype=jnp.uint32)

  return jax.tree.map(word_sum, tree)
