"""Where a run's records and messages go: screen, metrics.jsonl, TensorBoard."""

import logging

import jax

from mlm_jax.phases import Phase
from mlm_jax.progress import Progress
from mlm_jax.training.metrics import MetricsWriter
from mlm_jax.workdir import Workdir

_LOGGER = logging.getLogger("mlm_jax")


class Log(logging.Handler):
  """Shows and writes on the first process; silent on all others.

  Messages that other modules log as "mlm_jax..." are shown, too.

  Args:
    workdir: where records are written.
    last_step: the last step of the run, 0 where it is unknown.
    step: the step that the run continues from, -1 for none.
  """

  def __init__(self, workdir: Workdir, last_step: int, step: int):
    super().__init__(logging.INFO)
    self._writer = None
    self._progress = Progress(last_step, max(0, step))
    if jax.process_index() == 0:
      self._writer = MetricsWriter(workdir, step)

  def __enter__(self) -> "Log":
    if self._writer:
      self._progress.__enter__()
      if self._progress.live:
        self.say(
          "Ctrl-C saves a checkpoint; the same command continues from it"
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
      self._writer.close()

  def emit(self, record: logging.LogRecord) -> None:
    self.say(record.getMessage())

  def say(self, line: str) -> None:
    """Shows a line."""
    if self._writer:
      self._progress.say(line)

  def record(self, phase: Phase, step: int, split: str, **values) -> None:
    """Writes a record to metrics.jsonl and TensorBoard."""
    if self._writer:
      self._writer.write(step, split, phase.name, values)

  def advance(self, step: int) -> None:
    """Shows that a step is done."""
    if self._writer:
      self._progress.advance(step)

  def show(self, step: int, **values: float | None) -> None:
    """Shows the newest values: loss, heldout, tokens_per_second, hours."""
    if self._writer:
      self._progress.show(step, **values)
