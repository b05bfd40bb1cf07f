"""Event files for TensorBoard, written by TensorFlow, which reads the rows."""

import os
import socket
import time
from collections.abc import Mapping

from mlm_jax.data.host_tensorflow import tf


class EventWriter:
  """Writes scalars to a new event file in a local folder.

  Args:
    folder: where; it is made if missing.
    first_step: the first step that will be written. TensorBoard forgets what
      earlier files hold of this step and of later ones.
  """

  def __init__(self, folder: str | os.PathLike, first_step: int):
    os.makedirs(folder, exist_ok=True)
    name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}"
    self._file = tf.io.TFRecordWriter(os.path.join(folder, name))
    self._write(file_version="brain.Event:2")
    started = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
    self._write(step=first_step, session_log=started)

  def close(self) -> None:
    self._file.close()

  def write(self, step: int, scalars: Mapping[str, float]) -> None:
    """Writes the scalars of a step, by their tags."""
    value = tf.compat.v1.Summary.Value
    values = [value(tag=tag, simple_value=x) for tag, x in scalars.items()]
    self._write(step=step, summary=tf.compat.v1.Summary(value=values))

  def _write(self, **event) -> None:
    event = tf.compat.v1.Event(wall_time=time.time(), **event)
    self._file.write(event.SerializeToString())
    self._file.flush()
