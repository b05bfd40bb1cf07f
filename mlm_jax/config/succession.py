"""May one configuration follow another on the same weights?

All answers are derived from the scopes of the keys (`key.SCOPES`).
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from mlm_jax.config.build import build, flat, groups, nest, scope_of
from mlm_jax.config.config import Config
from mlm_jax.config.key import SCOPES, keys_of
from mlm_jax.config.model import EncoderConfig
from mlm_jax.errors import InputError, require

# What lies between two configurations: a restart of the same phase, or the end
# of one phase and the start of the next.
Boundary = Literal["restart", "phase"]

# The scopes of the keys that must stay as they are.
_FIXED: dict[Boundary, tuple[str, ...]] = {
  "restart": ("weights", "initialisation", "state", "function"),
  "phase": ("weights", "initialisation"),
}
# Those that an imported model determines.
_OF_A_MODEL = ("weights", "initialisation", "function")
_WHERE = {"restart": "at a restart", "phase": "between phases"}
_REMEDIES = {
  "restart": "keep {!r}, or choose another --workdir",
  "phase": "keep {!r} in all phases",
}

# The scopes on which the outputs of a trained model depend.
INFERENCE = ("weights", "function")

# The model.* keys that growing an encoder takes from a larger one.
GROWN = tuple(name for name, k in keys_of(EncoderConfig).items() if k.grown)


def may_follow(old: Config, new: Config, boundary: Boundary) -> None:
  """Checks that training may continue with another configuration.

  Args:
    old: what the weights and the optimizer's state were made with.
    new: what to continue with.
    boundary: "restart", where the same phase is resumed: the weights, the
      function that they compute and the optimizer are fixed; or "phase", where
      the next one begins: its function may be another, and its optimizer where
      `train.reset_optimizer` asks for a new state.

  Raises:
    InputError: a fixed key differs; names it, both values and what to do.
  """
  for name, before, after, scopes in _differences(old, new):
    for scope in _FIXED[boundary]:
      if scope in scopes:
        raise InputError(
          f"{name} was {before!r} and cannot become {after!r} "
          f"{_WHERE[boundary]}, as it determines {SCOPES[scope]}: "
          f"{_REMEDIES[boundary].format(before)}"
        )
  if boundary == "phase" and not new.train.reset_optimizer:
    require(
      old.optim.name == new.optim.name,
      f"optim.name was {old.optim.name!r} and cannot become {new.optim.name!r} "
      "with the same state: set train.reset_optimizer=True to begin a new one",
    )


def changed(
  old: Any, new: Any, scopes: Collection[str] = tuple(SCOPES)
) -> dict[str, tuple]:
  """Returns the (old, new) values of the keys that differ, by their names.

  Args:
    old: a `Config`, or one group of keys.
    new: another one of its class.
    scopes: of the keys to compare. A key whose scope depends on its group
      counts if it has one of these in either group.
  """
  return {
    name: (before, after)
    for name, before, after, found in _differences(old, new)
    if found & set(scopes)
  }


def continued(old: Config, new: Config) -> tuple[Config, dict[str, tuple]]:
  """Returns `new` with what the weights of `old` fix, and what was replaced.

  That is what shapes the weights and the function that they compute.

  Returns:
    The configuration, and the (old, new) values of the keys that differed.
  """
  kept = changed(old, new, _OF_A_MODEL)
  values = flat(new) | {name: value for name, (value, _) in kept.items()}
  return build(nest(values)), kept


def continued_diff(
  base: Config, diff: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, tuple]]:
  """Returns a phase's diff to `continued` values, without fixed keys.

  Returns:
    The diff, and the (base, diff) values of the keys that differed.
  """
  values = flat(base)
  fixed = {key for key in diff if scope_of(key, base) in _FIXED["phase"]}
  kept = {
    key: (values[key], diff[key])
    for key in sorted(fixed)
    if values[key] != diff[key]
  }
  return {key: diff[key] for key in diff if key not in fixed}, kept


def when(scope: str) -> str:
  """Returns in words when a key of a scope may change."""
  if scope in _FIXED["phase"]:
    return "never once weights exist"
  return "between phases" if scope in _FIXED["restart"] else "at any restart"


def for_other_devices(config: Config) -> Config:
  """Returns the configuration without what was sized to the devices."""
  changes = {}
  for group, cls in groups().items():
    if "." in group:
      continue  # Of a table, whose keys are about text.
    defaults = {
      name: key.default
      for name, key in keys_of(cls).items()
      if key.scope == "devices"
    }
    changes[group] = dataclasses.replace(getattr(config, group), **defaults)
  return dataclasses.replace(config, **changes)


def _differences(old, new) -> Iterator[tuple[str, Any, Any, set[str]]]:
  """Yields the name, both values and scopes of each key that differs."""
  for name, key in keys_of(type(old)).items():
    before, after = getattr(old, name), getattr(new, name)
    if before != after:
      yield name, before, after, {key.scope_in(old), key.scope_in(new)}
  for field in dataclasses.fields(old):
    before, after = getattr(old, field.name), getattr(new, field.name)
    pairs = {}
    if dataclasses.is_dataclass(before):
      pairs = {field.name: (before, after)}
    elif isinstance(before, Mapping):
      pairs = {
        f"{field.name}.{entry}": (before.get(entry), after.get(entry))
        for entry in {**before, **after}
      }
    for group, (before, after) in pairs.items():
      if before is None or after is None:
        differences = _all_keys(before, after)
      else:
        differences = _differences(before, after)
      for name, *rest in differences:
        yield f"{group}.{name}", *rest


def _all_keys(old, new) -> Iterator[tuple[str, Any, Any, set[str]]]:
  """Yields the same for each key of a group that only one of the two has."""
  group = old or new
  for name, key in keys_of(type(group)).items():
    values = (one and getattr(one, name) for one in (old, new))
    yield name, *values, {key.scope_in(group)}
