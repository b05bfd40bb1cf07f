"""What a command shows while it works: a live line, or plain lines in a log."""

import datetime
import sys
import time

import rich.console
import rich.progress


class Progress:
  """A bar on a terminal; elsewhere a line each time something is logged.

  Args:
    total: steps to do, 0 where that is unknown; None shows no bar, `say` alone.
    done: steps already done.
    unit: what a step is called.

  Attributes:
    live: is there a bar?
  """

  def __init__(
    self, total: int | None = None, done: int = 0, unit: str = "step"
  ):
    self._console = rich.console.Console(highlight=False, soft_wrap=True)
    self._values: dict[str, float | None] = {}
    # rich's is_terminal may be set from outside, as notebooks do for colours.
    self.live = total is not None and sys.stdout.isatty()
    self._total, self._unit = total, unit
    self._first = None
    if self.live:
      self._bar = rich.progress.Progress(
        rich.progress.BarColumn(bar_width=24),
        rich.progress.TextColumn(unit),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[values]}"),
        rich.progress.TimeRemainingColumn(),
        rich.progress.TextColumn("left"),
        console=self._console,
      )
      self._task = self._bar.add_task(
        "", total=total or None, completed=done, values=""
      )

  def __enter__(self):
    if self.live:
      self._bar.start()
    return self

  def __exit__(self, *_):
    if self.live:
      self._bar.stop()

  def say(self, line: str) -> None:
    self._console.print(line, markup=False)

  def advance(self, step: int) -> None:
    # The first step waits for compilers.
    self._first = self._first or (step, time.monotonic())
    if self.live:
      self._bar.update(self._task, completed=step)

  def show(self, step: int, **values: float | None) -> None:
    """Shows the newest values: loss, heldout, tokens_per_second, hours."""
    if self.live:
      self._values.update(values)
      text = "  ".join(_texts(self._values))
      self._bar.update(self._task, completed=step, values=text)
    elif self._total is not None:
      of = f"/{self._total:,}" if self._total else ""
      done = f"{self._unit} {step:,}{of}"
      self.say("  ".join([done, *_texts(values), *self._left(step)]))

  def _left(self, step: int) -> list[str]:
    if not self._first:
      return []
    first, start = self._first
    if not first < step < self._total:
      return []
    seconds = (time.monotonic() - start) / (step - first) * (self._total - step)
    return [f"{datetime.timedelta(seconds=round(seconds))} left"]


def _texts(values: dict[str, float | None]) -> list[str]:
  return [
    f"{_NAMES[key][0]} {value:{_NAMES[key][1]}}"
    for key, value in values.items()
    if value is not None
  ]


_NAMES = {
  "loss": ("loss", ".3f"),
  "heldout": ("held-out", ".3f"),
  "tokens_per_second": ("tokens/s", ",.0f"),
  "hours": ("hours", ".2f"),
}
