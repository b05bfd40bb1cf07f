"""A recipe as an ordered list of phases over one set of weights.

A phase is a difference to the phase before it, and resolves to an ordinary
`Config`. A recipe that names no phases is one phase. What depends on the
progress of training (learning rate, mask rate) depends on that of the phase;
weights, optimizer state and the counts of steps, rows and tokens continue.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from typing import Any

from mlm_jax import config as config_lib
from mlm_jax import registry
from mlm_jax.config import Config
from mlm_jax.errors import InputError, require

# The name of the phase of a recipe that has no others.
ONLY_PHASE = "pretrain"

# A phase name becomes a part of keys and of file names.
_NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789_"

# Dotted key -> value.
Diff = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Phase:
  """A stretch of training with one configuration.

  Attributes:
    name: unique in its recipe.
    config: every key's value; its length is the phase's own.
    first_step: how many steps the phases before it have.
    end: the step at which its hours were over, None before that, and where its
      length is not in hours.
  """

  name: str
  config: Config
  first_step: int = 0
  end: int | None = None

  @property
  def last_step(self) -> int:
    """Returns the step of the whole run that ends the phase.

    While `is_open`, it is one that cannot be reached.
    """
    if self.end is not None:
      return self.end
    return self.first_step + self.config.num_steps

  @property
  def is_open(self) -> bool:
    """True for a phase in hours that has not ended."""
    return self.config.train.hours > 0 and self.end is None


@dataclasses.dataclass(frozen=True)
class Recipe:
  """A base configuration and its phases.

  Attributes:
    base: what the first phase differs from.
    diffs: by the phase's name, in order, the keys that differ from the phase
      before; empty for a recipe of one phase.
    path: the recipe file, which may register kinds of its own; "" for a shipped
      recipe.
    ends: by the phase's name, the steps at which phases in hours have ended.
  """

  base: Config
  diffs: Mapping[str, Diff] = dataclasses.field(default_factory=dict)
  path: str = ""
  ends: Mapping[str, int] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    # Whatever is wrong with a phase should be known when the recipe is read.
    for before, after in itertools.pairwise(self.phases):
      try:
        config_lib.may_follow(before.config, after.config, "phase")
      except InputError as error:
        raise InputError(f"phase {after.name!r}: {error}") from error
      _check_evaluated_text(before, after)

  @functools.cached_property
  def phases(self) -> tuple[Phase, ...]:
    """The phases in order; each one's configuration is valid by itself."""
    if not self.diffs:
      return (self._phase(ONLY_PHASE, self.base, 0),)
    phases, values = [], config_lib.flat(self.base)
    for name, diff in self.diffs.items():
      _check_name(name)
      require(
        any(f"train.{unit}" in diff for unit in ("steps", "tokens", "hours")),
        f"phase {name!r} needs a length of its own: train.steps, train.tokens "
        "or train.hours",
      )
      for key in diff:
        config_lib.check_key(key, f"configuration key of phase {name!r}")
      if phases:
        values = config_lib.without_keys_of_one_phase(values)
      values = config_lib.merge(values, diff)
      try:
        config = config_lib.build(config_lib.nest(values))
      except InputError as error:
        raise InputError(f"phase {name!r}: {error}") from error
      first_step = phases[-1].last_step if phases else 0
      phases.append(self._phase(name, config, first_step))
    return tuple(phases)

  def _phase(self, name: str, config: Config, first_step: int) -> Phase:
    end = self.ends.get(name) if config.train.hours else None
    return Phase(name, config, first_step, end)

  @property
  def last_step(self) -> int:
    """Returns the step that ends the last phase."""
    return self.phases[-1].last_step

  @property
  def last_known_step(self) -> int:
    """Returns the same, 0 where a phase in hours has not ended."""
    is_open = any(phase.is_open for phase in self.phases)
    return 0 if is_open else self.last_step

  def ended(self, name: str, step: int) -> "Recipe":
    """Returns the recipe once the hours of a phase are over."""
    return dataclasses.replace(self, ends={**self.ends, name: step})

  def phase_at(self, step: int) -> Phase:
    """Returns the phase that a checkpoint of `step` was trained in last.

    Steps beyond the end belong to the last phase.
    """
    return next(
      (p for p in self.phases if step <= p.last_step), self.phases[-1]
    )

  def phase_keys(self) -> dict[str, Any]:
    """Returns what the phases set, by keys of the form phases.NAME.KEY."""
    return {
      f"phases.{name}.{key}": value
      for name, diff in self.diffs.items()
      for key, value in diff.items()
    }

  def to_json(self) -> dict[str, Any]:
    """Returns what config.json holds: base values, phases, and the path."""
    values = dataclasses.asdict(self.base)
    if self.diffs:
      values["phases"] = {name: dict(diff) for name, diff in self.diffs.items()}
    if self.path:
      values["recipe"] = self.path
    if self.ends:
      values["ends"] = dict(self.ends)
    return values


def from_json(values: Mapping[str, Any]) -> Recipe:
  """Returns the recipe that `Recipe.to_json` wrote."""
  values = dict(values)
  diffs, path = values.pop("phases", {}), values.pop("recipe", "")
  ends = values.pop("ends", {})
  require(
    isinstance(diffs, Mapping)
    and all(isinstance(diff, Mapping) for diff in diffs.values()),
    f"phases must be a group of keys for each phase, not {diffs!r}",
  )
  corruption = values.get("corruption")
  if isinstance(corruption, Mapping) and "kind" in corruption:
    # Trained models are used whatever the kind was called.
    kind = registry.CORRUPTIONS.present_name(corruption["kind"])
    values["corruption"] = {**corruption, "kind": kind}
  return Recipe(config_lib.build(values), diffs, path, ends)


def _check_name(name: str) -> None:
  require(
    isinstance(name, str) and name and not set(name) - set(_NAME_CHARACTERS),
    f"a phase's name has small letters, digits and _ only, not {name!r}",
  )


def _check_evaluated_text(before: Phase, after: Phase) -> None:
  """Checks that a phase is not evaluated on what was trained on before it."""
  old, new = before.config.data, after.config.data
  require(
    new.heldout_fraction <= old.heldout_fraction,
    f"phase {after.name!r}: data.heldout_fraction cannot grow from "
    f"{old.heldout_fraction} to {new.heldout_fraction}: documents that were "
    "trained on would be held out",
  )
  for name, corpus in new.validation.items():
    require(
      old.validation.get(name) == corpus,
      f"phase {after.name!r}: data.validation.{name} must be the same in all "
      "phases from the first, as they may train on its documents",
    )
