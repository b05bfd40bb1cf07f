"""The loop: evaluate -> save -> next batch -> step -> log.

The device never waits for the host: while a step runs, the host reads the
metrics of the one before and gets the next batch ready.
"""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from mlm_jax.errors import require
from mlm_jax.progress import Progress
from mlm_jax.training import hardware
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.training.early_stopping import Patience
from mlm_jax.training.metrics import MetricsWriter, Speedometer
from mlm_jax.training.run import Run
from mlm_jax.workdir import Workdir

_LOGGER = logging.getLogger("mlm_jax")

# params -> metrics; "loss" ranks the checkpoints.
Evaluator = Callable[[object], dict[str, float]]


def train(
  run: Run,
  workdir: Workdir,
  batches_from: Callable[[int], Iterator[dict[str, np.ndarray]]],
  evaluate: Evaluator | None = None,
) -> bool:
  """Trains to `config.train.steps`, from the last checkpoint if there is one.

  Ctrl-C or SIGTERM saves a checkpoint and returns; the same call goes on. It
  ends early where `config.train.patience` says so.

  Args:
    run: what to train, on which devices.
    workdir: where checkpoints and metrics go.
    batches_from: step -> the batches of that step and all after it, this
      process's rows of them.
    evaluate: measures the parameters every `config.train.eval_every` steps.

  Returns:
    Is the run over? Else it was stopped.
  """
  config = run.config
  steps = config.train.steps
  due = lambda step, every: step % every == 0 or step == steps
  with contextlib.ExitStack() as stack:
    checkpoints = stack.enter_context(Checkpoints(workdir, config.train))
    state = checkpoints.restore(run.abstract_state, run.init_state)
    first = int(state.step) if state else 0
    require(
      first <= steps,
      f"{workdir.root} is at step {first}, past train.steps={steps}",
    )
    patience = Patience(config.train, workdir, first or -1)
    log = stack.enter_context(_Log(run, workdir, first or -1))
    if not state:
      state = run.init_state()
    elif not first:
      log.say("Starting from the imported weights")
    elif first < steps and not patience.is_over:
      log.say(f"Continuing from step {first:,}")
    else:
      log.say(f"Nothing to train: already at step {first:,} of {steps:,}")
    stopped = stack.enter_context(_stop_signals())
    batches = batches_from(first)
    running = None  # The step that the device is at work on.
    for step in range(first, steps + 1):
      last = step == steps or stopped(step) or patience.is_over
      # A state that was restored was evaluated and saved when it was new.
      new, heldout = step > first, None
      evaluating = evaluate and (new or step == 0)
      evaluating = evaluating and due(step, config.train.eval_every)
      saving = new and (last or due(step, config.train.checkpoint_every))
      if evaluating or saving:
        # Before a checkpoint stands, all that led to it should be written.
        log.step_done(running)
        running = None
      with log.pause():
        if evaluating:
          heldout = evaluate(state.params)
          log.heldout(step, heldout)
          patience.note(step, heldout["loss"])
          last = last or patience.is_over
          # What a run stops for should be there when it stops.
          keep = config.train.patience and patience.best_step == step
          saving = new and (saving or last or keep)
        if saving:
          checkpoints.save(state, heldout)
      if last:
        break
      if step == first:
        log.say("Compiling the training step, once")
      batch = run.to_device(next(batches))
      state, metrics = run.train_step(state, batch)
      log.step_done(running)
      running = step + 1, metrics
    log.step_done(running)
    if patience.is_over:
      log.say(
        f"Stopped at step {step:,}: the held-out loss has not fallen since step "
        f"{patience.best_step:,}"
      )
    elif step < steps:
      log.say(
        f"Stopped at step {step:,}; the same command continues from there"
      )
  return step == steps or patience.is_over


class _Log(logging.Handler):
  """Tells the screen, metrics.jsonl and TensorBoard, on the first process.

  The screen also what other modules have to say of the run.
  """

  def __init__(self, run: Run, workdir: Workdir, last_step: int):
    super().__init__(logging.INFO)
    self._config = config = run.config
    self._progress = Progress(config.train.steps, max(0, last_step))
    self._writer = None
    if jax.process_index() == 0:
      self._writer = MetricsWriter(workdir, last_step)
    self._speed = Speedometer()
    peak = hardware.peak_flops()  # None for an unknown kind of device.
    self._peak_tokens_per_second = peak and (
      peak * jax.device_count() / run.objective.flops_per_token
    )
    self._tokens_seen = 0  # After the step that was done last.

  def __enter__(self):
    if self._writer:
      self._progress.__enter__()
      if self._progress.live:
        self.say(
          "Ctrl-C saves a checkpoint, from which the same command goes on"
        )
      _LOGGER.setLevel(logging.INFO)
      _LOGGER.addHandler(self)
      _LOGGER.propagate = False  # To whatever a library has set up.
    return self

  def __exit__(self, *args):
    _LOGGER.removeHandler(self)
    _LOGGER.propagate = True
    if self._writer:
      self._progress.__exit__(*args)
      self._writer.__exit__(*args)

  def emit(self, record: logging.LogRecord) -> None:
    self.say(record.getMessage())

  def say(self, line: str) -> None:
    if self._writer:
      self._progress.say(line)

  @contextlib.contextmanager
  def pause(self) -> Iterator[None]:
    start = time.perf_counter()
    yield
    self._speed.pause(time.perf_counter() - start)

  def step_done(self, running: tuple[int, dict[str, jax.Array]] | None) -> None:
    """Waits for a step; logs it if it is due."""
    if running is None:
      return
    step, metrics = running
    high, low = (int(n) for n in jax.device_get(metrics["tokens_seen"]))
    self._tokens_seen = (high << 32) + low
    self._speed.start_once(self._tokens_seen)
    if not self._writer:
      return
    self._progress.advance(step)
    if step % self._config.train.log_every and step != self._config.train.steps:
      return
    speed = self._speed.read(self._tokens_seen)
    # What is looked for most comes first.
    first = {key: metrics[key] for key in ("loss", "accuracy")}
    scalars = {k: float(x) for k, x in (first | metrics).items() if not x.ndim}
    values = scalars | {
      "tokens_seen": self._tokens_seen,
      "tokens_per_second": speed and round(speed, 1),
      "mfu": self._share_of_peak(speed),
    }
    self._writer.write(step, "train", **values)
    self._progress.show(step, loss=values["loss"], tokens_per_second=speed)

  def _share_of_peak(self, speed: float | None) -> float | None:
    peak = self._peak_tokens_per_second
    return round(speed / peak, 4) if speed and peak else None

  def heldout(self, step: int, values: dict[str, float]) -> None:
    if self._writer:
      self._writer.write(
        step, "heldout", **values, tokens_seen=self._tokens_seen
      )
      self._progress.show(step, heldout=values["loss"])


@contextlib.contextmanager
def _stop_signals() -> Iterator[Callable[[int], bool]]:
  """Turns the first Ctrl-C or SIGTERM into a flag; the second acts as ever."""
  if jax.process_count() > 1:
    # JAX turns SIGTERM into a step at which all processes stop.
    before = signal.signal(
      signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM)
    )
    yield multihost_utils.reached_preemption_sync_point
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
