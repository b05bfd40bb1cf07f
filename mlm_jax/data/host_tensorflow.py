"""TensorFlow, told that it only feeds: accelerators belong to JAX."""

import atexit
import weakref
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

tf.config.set_visible_devices([], "GPU")
tf.config.set_visible_devices([], "TPU")

__all__ = ["iterate", "tf"]

_RUNNING = weakref.WeakSet()


def iterate(dataset: tf.data.Dataset) -> Iterator[dict[str, np.ndarray]]:
  """Yields what `dataset` does, as NumPy arrays, and ends before Python does.

  The threads of a pipeline that call NumPy functions must not outlive Python:
  one that comes back to it while it ends is killed. The destructor of the
  pipeline waits for that thread, so that the process hangs, or aborts.
  """

  def elements():
    yield from dataset.as_numpy_iterator()

  running = elements()
  _RUNNING.add(running)
  return running


@atexit.register
def _end_all() -> None:
  for running in list(_RUNNING):
    running.close()
