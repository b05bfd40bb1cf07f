"""What a recipe is going to do, phase by phase, before anything is done."""

import math

from mlm_jax.config import Config
from mlm_jax.data import corruption as corruption_lib
from mlm_jax.data import prepare
from mlm_jax.data.stream import Stream
from mlm_jax.errors import InputError
from mlm_jax.phases import Phase, Recipe
from mlm_jax.training import schedules
from mlm_jax.workdir import Workdir

_WIDTH, _HEIGHT = 60, 8
_BARS = " ▁▂▃▄▅▆▇█"


def describe(recipe: Recipe, workdir: Workdir | None = None) -> str:
  """Returns the timeline of a recipe, and its learning rate as a plot.

  Args:
    recipe: whose phases are described.
    workdir: where prepared rows are looked for; it need not be there.
  """
  parts = [_phase(phase, workdir) for phase in recipe.phases]
  if not any(phase.is_open for phase in recipe.phases):
    total = sum(_tokens(phase.config) for phase in recipe.phases)
    parts.append(f"{recipe.last_step:,} steps, {_short(total)} tokens in all")
  parts.append(_plot(recipe))
  return "\n\n".join(parts)


def learning_rates(recipe: Recipe, points: int) -> list[tuple[float, float]]:
  """Returns (tokens, or hours, trained; learning rate) at even places.

  Of a recipe with phases in hours, those alone.
  """
  lengths, _ = _lengths(recipe)
  total, found, before = sum(lengths.values()), [], 0
  for name, length in lengths.items():
    config = next(p.config for p in recipe.phases if p.name == name)
    steps = config.timeline.length
    rate = schedules.learning_rate(config.optim_in_steps, steps)
    for index in range(points):
      place = (index + 0.5) / points * total
      if before <= place < before + length:
        step = (place - before) / length * steps
        found.append((place, float(rate(step))))
    before += length
  return found


def _lengths(recipe: Recipe) -> tuple[dict[str, float], str]:
  """Returns the length of each phase that is drawn, and their unit."""
  hours = {p.name: p.config.train.hours for p in recipe.phases}
  if any(hours.values()):
    return {name: length for name, length in hours.items() if length}, "hours"
  return {p.name: _tokens(p.config) for p in recipe.phases}, "tokens"


def save_plot(recipe: Recipe, path: str) -> None:
  """Draws the learning rate over tokens into a PNG.

  Raises:
    InputError: Matplotlib is not installed, or the file cannot be written.
  """
  try:
    from matplotlib.figure import Figure
  except ImportError as error:
    raise InputError(
      "drawing a PNG needs Matplotlib: pip install matplotlib"
    ) from error
  lengths, unit = _lengths(recipe)
  places, rates = zip(*learning_rates(recipe, 1_000), strict=True)
  figure = Figure(figsize=(8, 3.5), layout="constrained")
  axes = figure.subplots()
  axes.plot(places, rates)
  axes.set(xlabel=unit, ylabel="learning rate", ylim=(0, None))
  axes.margins(x=0)
  end = 0
  for name, length in lengths.items():
    axes.axvline(end, color="0.8", linewidth=1)
    axes.text(end, max(rates), f" {name}", rotation=90, va="top", color="0.4")
    end += length
  try:
    figure.savefig(path, format="png", dpi=150)
  except OSError as error:
    raise InputError(f"cannot write {path}: {error.strerror}") from error


def _phase(phase: Phase, workdir: Workdir | None) -> str:
  config = phase.config
  lines = {
    "batch": _batch(config),
    "learning rate": _rate(config),
    "corruption": corruption_lib.bind(config.corruption).describe(),
    "rows": _rows(config, workdir),
  }
  length = config.describe_length()
  if not config.train.hours:
    length += f", {_short(_tokens(config))} tokens"
  head = f"{phase.name}: {length}, {config.data.seq_len:,} a row"
  return "\n".join([head, *(f"  {k:<14} {v}" for k, v in lines.items())])


def _batch(config: Config) -> str:
  sizes = config.timeline.batch_sizes
  if len(sizes) == 1:
    return f"{sizes[0]:,} rows"
  return (
    f"{sizes[0]:,} to {sizes[-1]:,} rows in {len(sizes)} sizes, over "
    f"{_short(config.train.batch_warmup_tokens)} tokens"
  )


def _rate(config: Config) -> str:
  optim = config.optim_in_steps
  parts = []
  if optim.warmup_steps:
    first = optim.peak_lr * optim.initial_lr_share
    parts.append(f"{first:.3g} to {optim.peak_lr:.3g}")
    parts[-1] += f" over {_length(config, 'warmup')}"
  if optim.schedule == "constant":
    parts.append(f"{optim.peak_lr:.3g}")
  else:
    length = config.timeline.length
    last = float(schedules.learning_rate(optim, length)(length))
    parts.append(f"{optim.peak_lr:.3g} to {last:.3g} ({optim.schedule})")
    if optim.decay_steps:
      parts[-1] += f" over the last {_length(config, 'decay')}"
  return ", then ".join(parts)


def _length(config: Config, name: str) -> str:
  if tokens := getattr(config.optim, f"{name}_tokens"):
    return f"{_short(tokens)} tokens"
  if hours := getattr(config.optim, f"{name}_hours"):
    return f"{hours:,g} hours"
  return f"{getattr(config.optim, f'{name}_steps'):,} steps"


def _rows(config: Config, workdir: Workdir | None) -> str:
  needed = config.timeline.num_rows
  text = f"{_short(needed)} needed"
  if config.train.hours:
    needed, text = None, "as many as the hours allow"
  stores = workdir and prepare.recorded(config, workdir)
  if not stores:
    return f"{text}, none prepared yet"
  stream = Stream(config, stores.sources)
  there = []
  for name, store in stores.sources.items():
    part = _short(store.info["train"].num_rows) + " there"
    if needed:
      part += f": {stream.epochs(needed)[name]:.3g} epochs"
    if name:
      part = f"{name} {stream.shares[name]:.1%}, {part}"
    there.append(part)
  separator = "; " if config.data.sources else ", "
  return separator.join([text, *there])


def _tokens(config: Config) -> int:
  return config.timeline.num_rows * config.data.seq_len


def _short(number: float) -> str:
  """Returns a count with three or four digits: 1.719T."""
  for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6)):
    if number >= size:
      return f"{number / size:.4g}{unit}"
  return f"{number:,}"


def _plot(recipe: Recipe) -> str:
  """Returns a bar for each of some learning rates, as lines of text."""
  lengths, unit = _lengths(recipe)
  end = f"{_short(sum(lengths.values()))} {unit}"
  rates = [rate for _, rate in learning_rates(recipe, _WIDTH)]
  highest = max(rates) or 1.0
  lines = []
  for row in reversed(range(_HEIGHT)):
    label = f"{highest:.3g}" if row == _HEIGHT - 1 else "0" if not row else ""
    bars = ""
    for rate in rates:
      eighths = math.ceil(rate / highest * _HEIGHT * 8) - row * 8
      bars += _BARS[min(max(eighths, 0), 8)]
    lines.append(f"{label:>9} │{bars}")
  lines.append(f"{'':>9} └{'─' * _WIDTH}")
  lines.append(f"{'':>11}0{end:>{_WIDTH - 1}}")
  return "\n".join(["learning rate", *lines])
