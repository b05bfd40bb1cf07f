"""From a recipe's nested values to a valid `Config`, and back to flat ones."""

import dataclasses
import functools
import operator
import typing
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import ml_collections

from mlm_jax.config.config import Config
from mlm_jax.config.key import Key, keys_of
from mlm_jax.errors import require, unknown


def default() -> ml_collections.ConfigDict:
  """Returns the declared defaults as a locked `ConfigDict`."""
  return ml_collections.ConfigDict(dataclasses.asdict(Config())).lock()


def build(values) -> Config:
  """Returns the validated `Config` of a `ConfigDict` or nested dict.

  Raises:
    InputError: an unknown key or value, or a combination that is not valid.
  """
  if isinstance(values, ml_collections.ConfigDict):
    values = values.to_dict()
  return _build(Config, values, prefix="")


def flat(config: Config) -> dict:
  """Returns the value of every dotted key."""
  return {name: operator.attrgetter(name)(config) for name in keys()}


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the nested values of dotted keys, as `build` takes them."""
  nested = {}
  for key, value in values.items():
    group, _, name = key.rpartition(".")
    (nested.setdefault(group, {}) if group else nested)[name] = value
  return nested


def merge(values: Mapping[str, Any], diff: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the values of dotted keys with those of a diff in their place.

  Of keys that say the same in different units, such as train.steps and
  train.tokens, the one that the diff sets replaces the other.
  """
  replaced = {}
  for name, key in keys().items():
    for other in key.instead_of:
      other = f"{name.rpartition('.')[0]}.{other}"
      for one, instead in ((name, other), (other, name)):
        if one in diff and diff[one] and instead not in diff:
          replaced[instead] = 0
  return {**values, **replaced, **diff}


def without_keys_of_one_phase(values: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the values of dotted keys as the next phase inherits them."""
  ended = {n: key.default for n, key in keys().items() if key.of_one_phase}
  return {**values, **ended}


def groups() -> dict[str, type]:
  """Returns the class of every group of keys, by its name."""
  types = typing.get_type_hints(Config)
  return {k: v for k, v in types.items() if dataclasses.is_dataclass(v)}


@functools.cache
def keys() -> Mapping[str, Key]:
  """Returns the declaration of every dotted key."""
  found = dict(keys_of(Config))
  for group, cls in groups().items():
    found |= {f"{group}.{name}": key for name, key in keys_of(cls).items()}
  return MappingProxyType(found)


def scope_of(name: str, config: Config) -> str:
  """Returns the scope of a dotted key, given the values of its group."""
  group = name.rpartition(".")[0]
  return keys()[name].scope_in(getattr(config, group) if group else config)


def key_types() -> dict[str, type]:
  """Returns the type of every dotted key."""
  return {name: key.type for name, key in keys().items()}


def check_key(name: str) -> None:
  """Raises InputError for a dotted key that is not declared."""
  if name not in keys():
    listed = f"show_config --explain lists all {len(keys())}"
    raise unknown("configuration key", name, keys(), listed)


def _build(cls, values, prefix):
  require(
    isinstance(values, Mapping),
    f"{prefix.rstrip('.') or 'a recipe'} must be a group of keys, not "
    f"{values!r}",
  )
  types = typing.get_type_hints(cls)
  for key in values:
    if key not in types:
      raise unknown(
        "configuration key", prefix + key, [prefix + t for t in types]
      )
  return cls(
    **{
      key: _build(types[key], value, f"{prefix}{key}.")
      if dataclasses.is_dataclass(types[key])
      else value
      for key, value in values.items()
    }
  )
