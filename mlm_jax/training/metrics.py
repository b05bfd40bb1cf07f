"""metrics.jsonl and TensorBoard: one record a line, the same after a resume."""

import json
import math
import time

import tensorboardX

from mlm_jax.workdir import Workdir, write_atomically


class MetricsWriter:
  """Appends records to a work directory.

  Args:
    workdir: where.
    last_step: the last step whose records stand, -1 for none; what an earlier
      process wrote of later ones is removed, since they will be run again.
  """

  def __init__(self, workdir: Workdir, last_step: int):
    self._path = workdir.metrics
    if self._path.exists():
      lines = self._path.read_text().splitlines()
      kept = [line for line in lines if _step_of(line) <= last_step]
      if kept != lines:
        write_atomically(self._path, "".join(line + "\n" for line in kept))
    self._tensorboard = None
    if "://" not in str(workdir.root):  # tensorboardX writes local files.
      self._tensorboard = tensorboardX.SummaryWriter(
        str(workdir.tensorboard), purge_step=last_step + 1
      )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self._tensorboard:
      self._tensorboard.close()

  def write(self, step: int, split: str, **values: float | None) -> None:
    values = {k: v for k, v in values.items() if v is not None}
    record = {"step": step, "split": split, **values}
    with self._path.open("a") as file:
      file.write(json.dumps(record) + "\n")
    for name, value in values.items() if self._tensorboard else ():
      self._tensorboard.add_scalar(f"{split}/{name}", value, step)


def _step_of(line: str) -> float:
  try:
    return json.loads(line)["step"]
  except ValueError:
    return math.inf  # Cut short when its process was killed.


class Speedometer:
  """Tokens a second of training, without evaluation, saving and compilation."""

  def __init__(self):
    self._since = None

  def start_once(self, tokens_seen: int) -> None:
    """Starts after the first step, which compiles."""
    self._since = self._since or (time.perf_counter(), tokens_seen)

  def pause(self, seconds: float) -> None:
    if self._since:
      self._since = self._since[0] + seconds, self._since[1]

  def read(self, tokens_seen: int) -> float | None:
    """Returns the speed since the last reading, and starts the next."""
    since, now = self._since, time.perf_counter()
    self._since = now, tokens_seen
    if since is None or tokens_seen == since[1]:
      return None
    return (tokens_seen - since[1]) / (now - since[0])
