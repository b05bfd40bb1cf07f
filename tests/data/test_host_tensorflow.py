"""Processes end although their pipelines are still at work."""

import subprocess
import sys

import numpy as np

from mlm_jax.data.host_tensorflow import iterate, tf

# Python has begun to end when the next element's function comes back to it.
SLOW = """
import time
from mlm_jax.data.host_tensorflow import iterate, tf

def slow(number):
  time.sleep(0.5)
  return number

numbers = tf.data.Dataset.range(100).map(
  lambda number: tf.numpy_function(slow, [number], tf.int64),
  num_parallel_calls=2,
)
elements = iterate(numbers)
assert next(elements) == 0
"""


def test_all_elements_come_as_arrays_every_time():
  numbers = tf.data.Dataset.range(3).map(lambda n: {"n": n})
  for _ in range(2):
    elements = list(iterate(numbers))
    assert all(isinstance(element["n"], np.int64) for element in elements)
    assert [element["n"] for element in elements] == [0, 1, 2]


def test_python_ends_while_elements_are_made():
  ended = subprocess.run([sys.executable, "-c", SLOW], timeout=120)
  assert ended.returncode == 0


def test_an_error_ends_python_while_its_frames_hold_elements():
  ended = subprocess.run(
    [sys.executable, "-c", SLOW + "raise SystemError"],
    timeout=120,
    capture_output=True,
    text=True,
  )
  assert ended.returncode == 1
  assert ended.stderr.rstrip().endswith("SystemError")
