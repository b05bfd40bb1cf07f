"""From a recipe's nested values to a valid `Config`, and back to flat ones."""

import dataclasses
import functools
import operator
import re
import typing
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import ml_collections

from mlm_jax.config.config import Config
from mlm_jax.config.key import Key, keys_of, tables_of
from mlm_jax.errors import require, unknown

# Stands for the name of any entry of a table.
_ANY = "NAME"


def default() -> ml_collections.ConfigDict:
  """Returns the declared defaults as a locked `ConfigDict`."""
  values = ml_collections.ConfigDict(dataclasses.asdict(Config())).lock()
  for table in tables():
    operator.attrgetter(table)(values).unlock()  # Recipes choose the names.
  return values


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
  return dict(_flat(config, ""))


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the nested values of dotted keys, as `build` takes them."""
  nested = {}
  for key, value in values.items():
    *path, name = key.split(".")
    group = nested
    for part in path:
      group = group.setdefault(part, {})
    group[name] = value
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
  """Returns the class of every group of keys, by its name.

  Of the groups in a table it is that of all, such as data.sources.NAME.
  """
  found = {}
  for name, hint in typing.get_type_hints(Config).items():
    if dataclasses.is_dataclass(hint):
      found[name] = hint
      for table, cls in tables_of(hint).items():
        found[f"{name}.{table}.{_ANY}"] = cls
  return found


@functools.cache
def tables() -> Mapping[str, type]:
  """Returns the class of the groups in every table, by its dotted name."""
  found = {
    name.removesuffix(f".{_ANY}"): cls
    for name, cls in groups().items()
    if name.endswith(f".{_ANY}")
  }
  return MappingProxyType(found)


@functools.cache
def keys() -> Mapping[str, Key]:
  """Returns the declaration of every dotted key.

  In a table, one stands for that of all names: data.sources.NAME.weight.
  """
  found = dict(keys_of(Config))
  for group, cls in groups().items():
    found |= {f"{group}.{name}": key for name, key in keys_of(cls).items()}
  return MappingProxyType(found)


def declared(name: str) -> Key:
  """Returns the declaration of a dotted key.

  Raises:
    InputError: it is not declared.
  """
  check_key(name)
  return keys()[declared_name(name)]


def declared_name(name: str) -> str:
  """Returns the name by which `keys` has a dotted key, or a group in a table.

  That of data.sources.news.weight is data.sources.NAME.weight.
  """
  for table in tables():
    if match := re.fullmatch(rf"{table}\.\w+(\.\w+)?", name, re.ASCII):
      return f"{table}.{_ANY}{match[1] or ''}"
  return name


def scope_of(name: str, config: Config) -> str:
  """Returns the scope of a dotted key, given the values of its group."""
  key, group = declared(name), name.rpartition(".")[0]
  if not callable(key.scope):
    return key.scope
  return key.scope_in(getattr(config, group) if group else config)


def key_types() -> dict[str, type]:
  """Returns the type of every dotted key."""
  return {name: key.type for name, key in keys().items()}


def check_key(name: str, what: str = "configuration key") -> None:
  """Raises InputError for a dotted key that is not declared.

  Args:
    name: the key.
    what: how the message calls it.
  """
  if declared_name(name) not in keys():
    listed = f"show_config --explain lists all {len(keys())}"
    raise unknown(what, name, keys(), listed)


def _flat(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
  for field in dataclasses.fields(group):
    name, value = prefix + field.name, getattr(group, field.name)
    if dataclasses.is_dataclass(value):
      yield from _flat(value, f"{name}.")
    elif isinstance(value, Mapping):
      for entry, values in value.items():
        yield from _flat(values, f"{name}.{entry}.")
    else:
      yield name, value


def _build(cls, values, prefix):
  require(
    isinstance(values, Mapping),
    f"{prefix.rstrip('.') or 'a recipe'} must be a group of keys, not "
    f"{values!r}",
  )
  types, tables = typing.get_type_hints(cls), tables_of(cls)
  for key in values:
    if key not in types:
      raise unknown(
        "configuration key", prefix + key, [prefix + t for t in types]
      )
  built = {}
  for key, value in values.items():
    if key in tables:
      value = _build_table(tables[key], value, f"{prefix}{key}")
    elif dataclasses.is_dataclass(types[key]):
      value = _build(types[key], value, f"{prefix}{key}.")
    built[key] = value
  return cls(**built)


def _build_table(cls, values, name):
  require(
    isinstance(values, Mapping),
    f"{name} must be a group of keys for each name, not {values!r}",
  )
  return {
    entry: _build(cls, value, f"{name}.{entry}.")
    for entry, value in values.items()
  }
