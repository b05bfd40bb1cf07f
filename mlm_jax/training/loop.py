"""The loop: evaluate -> save -> next batch -> step -> log.

The device never waits for the host: while a step runs, the host reads the
metrics of the one before and gets the next batch ready.
"""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jax.experimental import multihost_utils

from mlm_jax.phases import Phase
from mlm_jax.training.hooks import Hook, Moment
from mlm_jax.training.log import Log
from mlm_jax.training.metrics import Seconds
from mlm_jax.training.run import Run
from mlm_jax.training.state import TrainState

_LOGGER = logging.getLogger("mlm_jax")


def train(
  run: Run,
  phase: Phase,
  state: TrainState,
  batches: Iterator[dict[str, np.ndarray]],
  hooks: Sequence[Hook],
  log: Log,
  is_interrupted: Callable[[int], bool],
) -> Moment:
  """Trains to the end of a phase, or until a hook or the user stops it.

  Args:
    run: the compiled functions of the phase.
    phase: what to train.
    state: where to begin; it is consumed.
    batches: from that step on, this process's rows of them.
    hooks: called between steps, in this order.
    log: shown and written to by hooks.
    is_interrupted: step -> whether the user wants the run to stop there.

  Returns:
    The last moment, with the state.
  """
  first, observed = int(state.step), _Observed(hooks)
  for step in range(first, phase.last_step + 1):
    moment = Moment(phase, step, state, log, is_new=step > first)
    moment.stop = is_interrupted(step)
    if moment.ends_phase:
      observed.finish()  # There is no later step at which to decide on it.
    for hook in hooks:
      if hook.is_due(moment):
        # Before a checkpoint stands, all that led to it should be written.
        observed.finish()
        with observed.pause():
          hook.run(moment)
    if moment.stop or moment.ends_phase:
      break
    if step == first:
      _LOGGER.info("Compiling the training step, once")
    batch = run.to_device(observed.wait_for(batches))
    state, metrics = run.train_step(moment.state, batch)
    observed.finish()
    observed.running = step + 1, metrics
  observed.finish()
  return moment


class _Observed:
  """The step that the device is at work on, for the hooks to observe."""

  def __init__(self, hooks: Sequence[Hook]):
    self._hooks, self._seconds = hooks, Seconds()
    self.running: tuple[int, dict[str, jax.Array]] | None = None

  def finish(self) -> None:
    """Shows the hooks the metrics of the running step, if there is one."""
    if self.running is None:
      return
    for hook in self._hooks:
      hook.observe(*self.running, self._seconds)
    self.running, self._seconds = None, Seconds()

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    start = time.perf_counter()
    yield
    self._add("hooks", start)

  def wait_for(self, batches: Iterator[dict[str, np.ndarray]]):
    """Returns the next batch; counts the time if the device is idle for it."""
    start = time.perf_counter()
    batch = next(batches)
    # While a step is running, there is time to get the next batch ready.
    if not self.running or self.running[1]["loss"].is_ready():
      self._add("data", start)
    return batch

  def _add(self, spent_on: str, start: float) -> None:
    seconds = getattr(self._seconds, spent_on) + time.perf_counter() - start
    self._seconds = self._seconds._replace(**{spent_on: seconds})


@contextlib.contextmanager
def stop_signals() -> Iterator[Callable[[int], bool]]:
  """Turns the first Ctrl-C or SIGTERM into a flag; the second acts as ever.

  Yields step -> whether to stop there, the same on all processes.
  """
  if jax.process_count() > 1:
    # JAX turns SIGTERM into a step at which all processes stop.
    before = signal.signal(
      signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    try:
      yield multihost_utils.reached_preemption_sync_point
    finally:
      signal.signal(signal.SIGINT, before)
    return
  received = []

  def note(number, frame):
    received.append(number)
    for s, handler in before.items():
      signal.signal(s, handler)

  before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
  try:
    yield lambda step: bool(received)
  finally:
    for s, handler in before.items():
      signal.signal(s, handler)
