"""metrics.jsonl and TensorBoard: one record a line, the same after a resume."""

import json
import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from mlm_jax.training.tensorboard import EventWriter
from mlm_jax.workdir import Workdir, write_atomically


def read_records(workdir: Workdir) -> Iterator[dict[str, Any]]:
  """Yields the records of metrics.jsonl, oldest first; none if it is missing.

  A line that is not JSON was cut short when its process was killed, and is
  skipped.
  """
  text = workdir.metrics.read_text() if workdir.metrics.exists() else ""
  for line in text.splitlines():
    try:
      yield json.loads(line)
    except ValueError:
      continue


class MetricsWriter:
  """Appends records to a work directory.

  Args:
    workdir: where.
    last_step: the last step whose records stand, -1 for none; what an earlier
      process wrote of later steps is removed, since they will be run again.
  """

  def __init__(self, workdir: Workdir, last_step: int):
    self._path = workdir.metrics
    if self._path.exists():
      kept = [r for r in read_records(workdir) if r["step"] <= last_step]
      text = "".join(json.dumps(record) + "\n" for record in kept)
      if text != self._path.read_text():
        write_atomically(self._path, text)
    self._events = None
    if "://" not in str(workdir.root):
      self._events = EventWriter(workdir.tensorboard, last_step + 1)

  def close(self) -> None:
    if self._events:
      self._events.close()

  def write(self, step: int, split: str, phase: str, values: dict) -> None:
    """Appends a record, without values that are None.

    Numbers that are not finite are null there, since JSON has none.
    """
    values = {
      k: v if isinstance(v, str) or math.isfinite(v) else None
      for k, v in values.items()
      if v is not None
    }
    record = {"step": step, "phase": phase, "split": split, **values}
    with self._path.open("a") as file:
      file.write(json.dumps(record, allow_nan=False) + "\n")
    if self._events:
      scalars = {
        f"{split}/{name}": value
        for name, value in values.items()
        if value is not None and not isinstance(value, str)
      }
      self._events.write(step, scalars)


class Seconds(NamedTuple):
  """What the loop's time went into, since hooks were last called.

  Attributes:
    hooks: evaluation, saving and other hooks.
    data: waiting for the next batch, with nothing running on the device.
  """

  hooks: float = 0.0
  data: float = 0.0


class Throughput:
  """Tokens a second of training, without evaluation, saving and compilation."""

  def __init__(self):
    self._since, self._waited = None, 0.0

  def start_once(self, tokens_seen: int) -> None:
    """Starts after the first step, which compiles."""
    if not self._since:
      self._since, self._waited = (time.perf_counter(), tokens_seen), 0.0

  def add(self, seconds: Seconds) -> None:
    """Leaves the time of hooks out, and notes that of waiting for data."""
    if self._since:
      self._since = self._since[0] + seconds.hooks, self._since[1]
    self._waited += seconds.data

  def read(self, tokens_seen: int) -> tuple[float | None, float | None]:
    """Returns the rate, and the share of time that was waited for data.

    Both are since the last reading, and the next begins here; None where there
    was none.
    """
    since, now, waited = self._since, time.perf_counter(), self._waited
    self._since, self._waited = (now, tokens_seen), 0.0
    if since is None or tokens_seen == since[1]:
      return None, None
    elapsed = now - since[0]
    return (tokens_seen - since[1]) / elapsed, waited / elapsed
