"""TensorFlow for input pipelines alone: accelerators belong to JAX.

`tf` is imported at its first use, so that what makes no pipeline starts without
it.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import types
import weakref
from collections.abc import Iterator

import numpy as np

from mlm_jax.errors import input_error_in

__all__ = ["iterate", "load", "tf"]

_RUNNING = weakref.WeakSet()


class _LazyTensorFlow(types.ModuleType):
  """The module tensorflow, imported when an attribute is first read."""

  def __getattr__(self, name: str):
    value = getattr(load(), name)
    setattr(self, name, value)
    return value


@functools.cache
def load() -> types.ModuleType:
  """Imports TensorFlow and hides the accelerators from it."""
  tensorflow = importlib.import_module("tensorflow")
  tensorflow.config.set_visible_devices([], "GPU")
  tensorflow.config.set_visible_devices([], "TPU")
  # Registered after what TensorFlow registers, so that it runs before that.
  atexit.register(_end_all)
  return tensorflow


tf = _LazyTensorFlow("tensorflow")


def iterate(dataset: tf.data.Dataset) -> Iterator[dict[str, np.ndarray]]:
  """Yields the elements of `dataset` as NumPy arrays until Python exits.

  The threads of a pipeline that call NumPy functions must not outlive Python:
  one that comes back to it while it ends is killed. The destructor of the
  pipeline waits for that thread, so that the process hangs, or aborts.

  Raises:
    InputError: one of these functions has.
  """

  def elements():
    try:
      yield from dataset.as_numpy_iterator()
    except tf.errors.OpError as error:
      # TensorFlow turns what NumPy functions raise into text.
      raise input_error_in(error.message) or error from None

  running = elements()
  _RUNNING.add(running)
  return running


def _end_all() -> None:
  for running in list(_RUNNING):
    running.close()
