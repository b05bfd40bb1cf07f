"""Hooks: what looks at training between two steps.

The loop asks each hook in turn whether it is due and runs it; the order of the
list is the order of events: evaluate, decide whether to stop, save. A hook of
one's own goes before the saving, and may ask for it.
"""

import dataclasses
import math
import operator
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from mlm_jax.config import TrainConfig
from mlm_jax.errors import TrainingError, require
from mlm_jax.phases import Phase
from mlm_jax.training import hardware
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.training.log import Log
from mlm_jax.training.metrics import Seconds, Throughput, read_records
from mlm_jax.training.state import TrainState, counter_value
from mlm_jax.workdir import Workdir

# The splits of the run's own records, up to a slash.
SPLITS = (
  "train",
  "config",
  *("heldout", "heldout_as_trained", "heldout_ema"),
  *("validation", "validation_as_trained", "validation_ema"),
)

# params -> metrics, by split: of "heldout", "loss" ranks the checkpoints.
Evaluator = Callable[[Any], Mapping[str, Mapping[str, float]]]


@dataclasses.dataclass
class Moment:
  """A place between two steps: what hooks see, and what they decide.

  Attributes:
    phase: the phase in training.
    step: steps done, in all phases.
    state: the state after them.
    log: where records and messages go.
    is_new: False where the state was restored, and not reached just now.
    stop: set it to end the run here; True also where the user interrupts.
    save: set it to have the state saved here, beside `train.checkpoint_every`.
    heldout: the held-out metrics measured here, None if there are none.
    is_time_up: whether the hours of the phase are over.
  """

  phase: Phase
  step: int
  state: TrainState
  log: Log
  is_new: bool
  stop: bool = False
  save: bool = False
  heldout: Mapping[str, float] | None = None
  is_time_up: bool = False

  @property
  def ends_phase(self) -> bool:
    return self.is_time_up or self.step == self.phase.last_step

  def is_multiple_of(self, every: int) -> bool:
    """True every so many steps, and at the end of the phase."""
    return self.step % every == 0 or self.ends_phase

  def record(self, split: str, **values: float) -> None:
    """Writes a record of this step to metrics.jsonl and TensorBoard.

    Raises:
      InputError: `split` is one of the run's own.
    """
    require(
      split.partition("/")[0] not in SPLITS,
      f"a hook's records need a split of their own, not {split!r}",
    )
    self.log.record(self.phase, self.step, split, **values)


class Hook:
  """What the loop calls between steps; all methods do nothing by default."""

  def is_due(self, moment: Moment) -> bool:
    """Returns whether `run` is to be called. Must not wait for the device."""
    return False

  def run(self, moment: Moment) -> None:
    """Looks at the state, while the device is idle; may change the moment."""

  def observe(
    self, step: int, metrics: Mapping[str, jax.Array], seconds: Seconds
  ) -> None:
    """Sees the metrics of a step while the next one is at work.

    Args:
      step: steps done, this one included.
      metrics: what the training step returned, on the device.
      seconds: what the time since the last call went into.
    """


class Clock(Hook):
  """Counts the hours of a phase whose length is `train.hours`.

  All processes take the first one's time, every `train.log_every` steps: the
  learning rate is constant in between.

  Args:
    phase: what is trained.
    now: returns seconds.
  """

  def __init__(self, phase: Phase, now: Callable[[], float] = time.monotonic):
    self._hours = phase.config.train.hours
    self._every, self._now = phase.config.train.log_every, now
    self._zero, self._last = None, None

  def is_due(self, moment: Moment) -> bool:
    is_first = self._zero is None
    return self._hours > 0 and (is_first or moment.step % self._every == 0)

  def run(self, moment: Moment) -> None:
    hours = moment.state.hours
    now = self._now() / 3600
    if self._zero is None:
      self._zero = now - float(hours)
    require(
      self._last is None or now > self._last,
      f"train.hours={self._hours} needs a clock that moves: this machine's "
      f"stood still for {self._every} steps. Give a length in train.steps",
    )
    self._last = now
    passed = np.float32(now - self._zero)
    if jax.process_count() > 1:
      passed = multihost_utils.broadcast_one_to_all(passed)
    passed = jax.make_array_from_callback(
      (), hours.sharding, lambda _: np.asarray(passed)
    )
    moment.state = moment.state.replace(hours=passed)
    moment.is_time_up = bool(passed >= self._hours)


class Evaluation(Hook):
  """Measures held-out metrics every `train.eval_every` steps, and at step 0.

  Args:
    train: how often.
    evaluate: measures.
    corruption: how held-out rows are corrupted, for the records.
    suffix: of the splits' names, up to a slash; without one, what "heldout"
      measures counts for early stopping and the best checkpoint.
    params_of: state -> the parameters to evaluate.
  """

  def __init__(
    self,
    train: TrainConfig,
    evaluate: Evaluator,
    corruption: str,
    suffix: str = "",
    params_of: Callable[[TrainState], Any] = operator.attrgetter("params"),
  ):
    self._every, self._evaluate = train.eval_every, evaluate
    self._corruption, self._suffix = corruption, suffix
    self._params_of = params_of

  def is_due(self, moment: Moment) -> bool:
    # A state that was restored was evaluated when it was new.
    is_new = moment.is_new or moment.step == 0
    return is_new and moment.is_multiple_of(self._every)

  def run(self, moment: Moment) -> None:
    found = self._evaluate(self._params_of(moment.state))
    for split, metrics in found.items():
      text, slash, name = split.partition("/")
      moment.log.record(
        moment.phase,
        moment.step,
        f"{text}{self._suffix}{slash}{name}",
        **metrics,
        tokens_seen=counter_value(moment.state.tokens_seen),
        corruption=self._corruption,
      )
    if not self._suffix:
      moment.heldout = found["heldout"]
      moment.log.show(moment.step, heldout=moment.heldout["loss"])


class EarlyStopping(Hook):
  """Stops the run when the held-out loss no longer falls.

  Evaluations of the phase by earlier processes are counted, too.

  Attributes:
    best_step: the step of the last gain.
  """

  def __init__(
    self, train: TrainConfig, workdir: Workdir, phase: str, last_step: int
  ):
    self._patience, self._min_gain = train.patience, train.min_gain
    self._best, self._waited, self.best_step = math.inf, 0, 0
    for record in read_records(workdir):
      ours = record["split"] == "heldout" and record.get("phase") == phase
      if ours and record["step"] <= last_step:
        loss = record["loss"]
        self._update(record["step"], math.nan if loss is None else loss)

  @property
  def is_over(self) -> bool:
    """True if no gain was seen for `train.patience` evaluations."""
    return 0 < self._patience <= self._waited

  def is_due(self, moment: Moment) -> bool:
    return moment.heldout is not None or self.is_over

  def run(self, moment: Moment) -> None:
    if moment.heldout is not None:
      self._update(moment.step, moment.heldout["loss"])
      # What a run stops for should be there when it stops.
      moment.save |= self._patience > 0 and self.best_step == moment.step
    moment.stop |= self.is_over

  def describe(self, step: int) -> str:
    """Returns a line on why the run ends at a step."""
    return (
      f"Stopped at step {step:,}: the held-out loss has not fallen since step "
      f"{self.best_step:,}"
    )

  def _update(self, step: int, loss: float) -> None:
    if loss < self._best - self._min_gain:
      self._best, self._waited, self.best_step = loss, 0, step
    else:
      self._waited += 1


class Checkpointing(Hook):
  """Saves the state every `train.checkpoint_every` steps, and at the end.

  Args:
    train: how often.
    checkpoints: where to.
    phase: the number of the phase.
    streams: state -> the rows that were read of each stream.
  """

  def __init__(
    self,
    train: TrainConfig,
    checkpoints: Checkpoints,
    phase: int,
    streams: Callable[[TrainState], Mapping[str, int]],
  ):
    self._every, self._checkpoints = train.checkpoint_every, checkpoints
    self._phase, self._streams = phase, streams

  def is_due(self, moment: Moment) -> bool:
    wanted = moment.stop or moment.save or moment.is_multiple_of(self._every)
    return moment.is_new and wanted

  def run(self, moment: Moment) -> None:
    heldout = moment.heldout
    if heldout is not None and not math.isfinite(heldout["loss"]):
      heldout = None  # It would rank as the best for ever.
    self._checkpoints.save(
      moment.state,
      heldout,
      phase=self._phase,
      streams=self._streams(moment.state),
    )


class SkippedSteps(Hook):
  """Ends the run where too many steps in a row were skipped, or are empty.

  Args:
    phase: what is trained.
    log: where messages go.
    diagnose: state, a step before it that was skipped -> lines on that step.
  """

  def __init__(
    self,
    phase: Phase,
    log: Log,
    diagnose: Callable[[TrainState, int], list[str]],
  ):
    self._phase, self._log, self._diagnose = phase, log, diagnose
    self._applied, self._last_skipped = None, None

  def observe(self, step, metrics, seconds) -> None:
    in_a_row = int(metrics["skipped_in_a_row"])
    if in_a_row == self._phase.config.train.max_skipped:
      self._last_skipped = step
    if in_a_row == 1:
      self._log.say(
        f"Step {step:,} is skipped: gradient norm {metrics['grad_norm']:.3g}"
      )
    if not in_a_row and not self._last_skipped:
      self._applied = step, metrics
    every = self._phase.config.train.log_every
    if step % every and step != self._phase.last_step:
      return
    if not in_a_row and not metrics["num_predictions"]:
      raise TrainingError(
        f"nothing was predicted in the steps to {step:,}: their rows have no "
        "token that corruption.kind="
        f"{self._phase.config.corruption.kind!r} can predict. show_corruption "
        "shows them"
      )

  def is_due(self, moment: Moment) -> bool:
    return self._last_skipped is not None

  def run(self, moment: Moment) -> None:
    lines = [
      f"{self._phase.config.train.max_skipped:,} steps in a row were skipped, "
      f"the last of them step {self._last_skipped:,}: loss or gradient is not "
      "finite, or a spike"
    ]
    if self._applied:
      step, metrics = self._applied
      lines.append(
        f"last step applied: {step:,}, loss {metrics['loss']:.3g}, gradient "
        f"norm {metrics['grad_norm']:.3g}"
      )
    lines += self._diagnose(moment.state, self._last_skipped)
    raise TrainingError("\n  ".join(lines))


class Logging(Hook):
  """Writes the metrics of training every `train.log_every` steps.

  Args:
    phase: what is trained.
    log: where to.
    flops_per_token: of training, for the utilisation (MFU).
    epochs: step -> how often the rows of each source were read before it.
  """

  def __init__(
    self,
    phase: Phase,
    log: Log,
    flops_per_token: float,
    epochs: Callable[[int], Mapping[str, float]],
  ):
    self._phase, self._log, self._epochs = phase, log, epochs
    self._throughput = Throughput()
    peak = hardware.peak_flops()  # None for an unknown kind of device.
    self._peak_tokens_per_second = peak and (
      peak * jax.device_count() / flops_per_token
    )

  def observe(self, step, metrics, seconds) -> None:
    tokens_seen = counter_value(metrics["tokens_seen"])
    self._throughput.add(seconds)
    self._throughput.start_once(tokens_seen)
    self._log.advance(step)
    every = self._phase.config.train.log_every
    if step % every and step != self._phase.last_step:
      return
    rate, data_wait = self._throughput.read(tokens_seen)
    peak = self._peak_tokens_per_second
    # What is looked for most comes first.
    first = {key: metrics[key] for key in ("loss", "accuracy")}
    scalars = {k: float(x) for k, x in (first | metrics).items() if not x.ndim}
    if not scalars.pop("num_predictions"):  # All steps were skipped.
      scalars |= dict.fromkeys(first, math.nan)
    del scalars["skipped_in_a_row"]
    if not self._phase.config.train.hours:
      del scalars["hours"]
    scalars |= {
      f"epochs/{name}".rstrip("/"): round(epochs, 4)
      for name, epochs in self._epochs(step).items()
    }
    scalars |= {
      "tokens_seen": tokens_seen,
      "tokens_per_second": rate and round(rate, 1),
      "data_wait": data_wait and round(data_wait, 4),
      "mfu": hardware.utilisation(rate, peak),
    }
    self._log.record(self._phase, step, "train", **scalars)
    self._log.show(
      step,
      loss=scalars["loss"],
      tokens_per_second=rate,
      hours=scalars.get("hours"),
    )
