"""What the loop's time goes into, as hooks observe it."""

import types

import numpy as np
import pytest

from mlm_jax.training import loop
from mlm_jax.training.hooks import Hook
from mlm_jax.training.metrics import Seconds, Throughput


class Observer(Hook):
  def __init__(self):
    self.seconds = []

  def observe(self, step, metrics, seconds):
    self.seconds.append(seconds)


def loss(is_ready):
  return {"loss": types.SimpleNamespace(is_ready=lambda: is_ready)}


@pytest.mark.parametrize("is_ready", [True, False])
def test_waiting_counts_where_the_device_has_nothing_to_do(is_ready):
  """A batch that arrives while a step is running costs no time."""
  observer = Observer()
  observed = loop._Observed([observer])
  observed.running = 1, loss(is_ready)
  assert observed.wait_for(iter([{"input_ids": np.zeros(2)}])) is not None
  with observed.pause():
    pass
  observed.finish()
  (seconds,) = observer.seconds
  assert (seconds.data > 0) == is_ready and seconds.hooks > 0
  observed.running = 2, loss(is_ready)
  observed.finish()
  assert observer.seconds[1] == Seconds()  # Counted from the last call on.


def test_the_share_of_waiting_is_that_since_the_last_reading(monkeypatch):
  now = [100.0]
  monkeypatch.setattr(
    "mlm_jax.training.metrics.time.perf_counter", lambda: now[0]
  )
  throughput = Throughput()
  throughput.start_once(0)
  now[0] += 10
  throughput.add(Seconds(hooks=2.0, data=4.0))
  assert throughput.read(800) == (100.0, 0.5)
  now[0] += 10
  assert throughput.read(1_800) == (100.0, 0.0)
  assert throughput.read(1_800) == (None, None)
