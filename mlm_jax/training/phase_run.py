"""A phase with all that it is trained by, and the rows that it reads."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from mlm_jax.data import pipeline
from mlm_jax.data.host_tensorflow import iterate
from mlm_jax.data.rows import Stores
from mlm_jax.data.stream import Stream
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.phases import ONLY_PHASE, Phase
from mlm_jax.training import diagnosis
from mlm_jax.training.run import Run
from mlm_jax.training.state import TrainState, counter_value

# From which the lengths of documents are taken for the utilisation.
_ROWS_FOR_FLOPS = 256


@dataclasses.dataclass(frozen=True)
class PhaseRun:
  """A phase with all that it is trained by."""

  number: int
  phase: Phase
  run: Run
  stores: Stores
  tokenizer: Tokenizer

  @classmethod
  def of(
    cls, number: int, phase: Phase, stores: Stores, tokenizer: Tokenizer
  ) -> "PhaseRun":
    run = Run.on(
      phase.config, tokenizer.vocabulary, first_step=phase.first_step
    )
    _ = run.state_shardings  # Raises where an array does not divide.
    return cls(number, phase, run, stores, tokenizer)

  def of_phase(self, phase: Phase) -> "PhaseRun":
    """Returns the same of a phase that begins or ends at another step."""
    if phase == self.phase:
      return self
    run = dataclasses.replace(self.run, first_step=phase.first_step)
    return dataclasses.replace(self, phase=phase, run=run)

  @property
  def flops_per_token(self) -> float:
    """Those of training, by the documents of some rows of each source."""
    rows_BL = np.concatenate(
      [
        store.read("train", np.arange(min(_ROWS_FOR_FLOPS, count)))
        for store in self.stores.sources.values()
        if (count := store.info["train"].num_rows)
      ]
    )
    return self.run.objective.flops_per_token_within(rows_BL)

  def diagnose(
    self, state: TrainState, step: int, stream: Stream, place: int
  ) -> list[str]:
    """Returns lines on why a step was skipped.

    Args:
      state: of that step or a later one.
      step: the step that was skipped.
      stream: what the phase reads.
      place: the number of rows of the stream read before `state`.
    """
    data, timeline = self.phase.config.data, self.phase.config.timeline
    steps_since = int(state.step) - step + 1
    of_phase = step - 1 - self.phase.first_step
    batch_size = timeline.batch_size(of_phase)
    first_row = place + timeline.rows_before(of_phase)
    first_row -= timeline.rows_before(of_phase + steps_since)
    # Batches are a function of their place: this one need not be kept, and all
    # processes read the whole of it.
    batches = _batches(self, stream, of_phase, first_row, pipeline.all_rows)
    rows = [stream.position(first_row + n) for n in range(batch_size)]
    key = "data.skip_rows"
    if self.phase.name != ONLY_PHASE:
      key = f"phases.{self.phase.name}.{key}"
    skip = f"{rows[0]}..{rows[-1] + 1}"
    if data.skip_rows:
      skip = f"{data.skip_rows},{skip}"
    # Its step is that of the random key.
    before = state.replace(step=state.step - steps_since)
    return [
      f"its rows: {rows[0]:,} to {rows[-1]:,} of the stream {stream.name!r}",
      *diagnosis.diagnose(
        self.run, before, next(batches), rows, self.tokenizer.decode
      ),
      "the last checkpoint is good. To leave rows out when it is continued: "
      f"--config.{key}={skip}",
    ]


class Reading:
  """The rows that a phase reads from a state on, and how many were read.

  Args:
    part: the phase.
    state: where it begins, or is continued.
    streams: the rows that were read of each stream until then.
  """

  def __init__(
    self, part: PhaseRun, state: TrainState, streams: Mapping[str, int]
  ):
    self.stream = Stream(part.phase.config, part.stores.sources, streams)
    self._part, self._others = part, dict(streams)
    self._rows_seen = counter_value(state.rows_seen)
    self._first_step = int(state.step) - part.phase.first_step

  def batches(self) -> Iterator[dict[str, np.ndarray]]:
    return _batches(
      self._part,
      self.stream,
      self._first_step,
      self.stream.place,
      self._part.run.local_rows,
    )

  def place(self, state: TrainState) -> int:
    """Returns how many rows of the stream were read before a state."""
    read = counter_value(state.rows_seen) - self._rows_seen
    return self.stream.place + read

  def streams(self, state: TrainState) -> dict[str, int]:
    """Returns how many rows of each stream were read before a state."""
    return self._others | self.stream.after(self.place(state))

  def epochs(self, step: int) -> dict[str, float]:
    """Returns how often each source was read before a step of the run."""
    rows_before = self._part.phase.config.timeline.rows_before
    read = rows_before(step - self._part.phase.first_step)
    read -= rows_before(self._first_step)
    return self.stream.epochs(self.stream.place + read)


def _batches(
  part: PhaseRun,
  stream: Stream,
  first_step: int,
  first_row: int,
  local_rows: pipeline.LocalRows,
) -> Iterator[dict[str, np.ndarray]]:
  """Returns an iterator over the batches of a phase from a step of it on."""
  dataset = pipeline.train_batches(
    part.run.config,
    stream,
    part.run.vocab,
    first_step=first_step,
    first_row=first_row,
    local_rows=local_rows,
  )
  return iterate(dataset)
