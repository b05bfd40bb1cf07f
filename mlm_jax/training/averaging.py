"""Averages of checkpoints: one model of several, without training.

A source is DIR or DIR:CHECKPOINT: a work directory, and the checkpoint "last"
(the default), "best", "best3" for the three best, or a step.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax import config as config_lib
from mlm_jax.data import records
from mlm_jax.errors import InputError, require
from mlm_jax.training import restoring
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.workdir import Workdir, atomic_folder

Method = Literal["uniform", "ties"]

_SOURCE = re.compile(r"(.*?)(?::((?:last|best\d*|\d+)(?::ema)?))?")


class _Source(NamedTuple):
  """A checkpoint of a work directory."""

  workdir: Workdir
  checkpoint: str

  def __str__(self) -> str:
    return f"{self.workdir.root}:{self.checkpoint}"


def average_checkpoints(
  sources: Sequence[str],
  workdir: Workdir,
  *,
  method: Method = "uniform",
  base: str = "",
  density: float = 0.2,
  say: Callable[[str], None] = print,
) -> None:
  """Makes a work directory of the average of checkpoints.

  It can be evaluated, exported, and trained further like an imported model. Its
  rows are those of the first source.

  Args:
    sources: the checkpoints, of one model and tokenizer; see the top of this
      file. One that is named twice counts once.
    workdir: to create; it must be empty or absent.
    method: "uniform", their mean; or "ties", see `ties`.
    base: for ties, the checkpoint that the others were trained from.
    density: for ties.
    say: receives progress messages.

  Raises:
    InputError: the checkpoints are not there, or of different models.
  """
  require(
    (method == "ties") == bool(base),
    "--method=ties needs --base, the checkpoint that the others were trained "
    "from"
    if method == "ties"
    else "--base is for --method=ties",
  )
  require(0 < density <= 1, f"--density must be > 0 and <= 1, not {density}")
  found = list(dict.fromkeys(s for text in sources for s in _sources(text)))
  require(
    len(found) > 1, f"{', '.join(sources)}: one checkpoint has no average"
  )
  models = [restoring.restore(*source) for source in found]
  first = models[0]
  of_base = None
  if base:
    of_base, *others = _sources(base)
    require(not others, f"--base={base} must be one checkpoint")
    models.append(restoring.restore(*of_base))
  for source, model in zip([*found, of_base], models, strict=False):
    _check_alike(found[0], first, source, model)
  params = [model.params for model in models]
  if method == "ties":
    average = ties(params[:-1], params[-1], density)
  else:
    average = uniform(params)
  # Of folders alone: an exported model's card repeats them.
  names = [
    f"{source.workdir.root.name}:{source.checkpoint}" for source in found
  ]
  with atomic_folder(workdir.root) as partial:
    _write(Workdir(partial), found[0].workdir, first, average, names)
  say(f"Wrote {workdir.root}: the {method} average of {', '.join(names)}")


def uniform(trees: Sequence[Any]) -> Any:
  """Returns the mean of each parameter over several models."""
  mean = lambda *arrays: sum(arrays) / len(arrays)
  return jax.tree.map(mean, *trees)


def ties(trees: Sequence[Any], base: Any, density: float) -> Any:
  """Returns models merged by TIES (Yadav et al. 2023), with lambda 1.

  Of each model's difference to the base, the largest entries of each array are
  kept; each number is moved by the mean of the differences that have the sign
  of their sum.

  Args:
    trees: the parameters of the models.
    base: those that they were trained from.
    density: the share of an array's entries that is kept.
  """

  def merge(base, *arrays):
    trimmed = jnp.stack([_trim(array - base, density) for array in arrays])
    agrees = (jnp.sign(trimmed) == jnp.sign(trimmed.sum(0))) & (trimmed != 0)
    total = jnp.sum(trimmed, 0, where=agrees)
    return base + total / jnp.maximum(agrees.sum(0), 1)

  return jax.tree.map(merge, base, *trees)


def _trim(array: jax.Array, density: float) -> jax.Array:
  """Returns an array whose smallest entries are 0."""
  kept = round(density * array.size)
  if not kept:
    return jnp.zeros_like(array)
  sizes = np.abs(np.asarray(array)).ravel()
  least = np.partition(sizes, -kept)[-kept]
  return jnp.where(jnp.abs(array) >= least, array, 0)


def _sources(text: str) -> list[_Source]:
  """Returns the checkpoints that a source stands for."""
  path, checkpoint = _SOURCE.fullmatch(text).groups()
  workdir = Workdir.at(path)
  workdir.load_recipe()  # Raises where there is none.
  which, _, part = (checkpoint or "last").partition(":")
  with Checkpoints(workdir) as checkpoints:
    steps = checkpoints.steps_of(which)
  suffix = f":{part}" if part else ""
  return [_Source(workdir, f"{step}{suffix}") for step in steps]


def _check_alike(first_source, first, source, model) -> None:
  """Raises InputError where two models do not average."""
  changed = config_lib.changed(
    first.run.config, model.run.config, config_lib.INFERENCE
  )
  changed.pop("data.tokenizer", None)  # A path, perhaps: compared below.
  for name, (value, other) in changed.items():
    raise InputError(
      f"{source} has {name}={other!r}, {first_source} has {value!r}: they have "
      "no average"
    )
  require(
    first.tokenizer.identity == model.tokenizer.identity,
    f"{source} and {first_source} have different tokenizers: they have no "
    "average",
  )


def _write(workdir, source: Workdir, model, params, names) -> None:
  model.tokenizer.save(workdir.tokenizer)
  config = records.adopt_rows(source.load_config(model.step), source, workdir)
  with Checkpoints(workdir, config.train) as checkpoints:
    checkpoints.save_params(params)
  origin = {
    "from": f"the average of {', '.join(names)}",
    "family": "",
    "max_tokens": model.max_tokens,
  }
  workdir.origin.write_text(json.dumps(origin) + "\n")
  workdir.save_config(config)
