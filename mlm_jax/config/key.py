"""How a configuration key is declared: `key(default, doc, scope=..., ...)`."""

import dataclasses
import functools
import re
import typing
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from mlm_jax.errors import InputError, unknown
from mlm_jax.registry import Table

# What a key of each scope determines. `succession` says when it may change.
# "initialisation" and "devices" are apart from "function" and "compute" because
# weights that exist do not depend on the former, and because the latter are
# reset to their defaults on other devices.
SCOPES = {
  "weights": "the shapes of the weights, or what their rows stand for",
  "initialisation": "the distribution that new weights are drawn from",
  "state": "the shapes of the optimizer's state",
  "function": "what the same weights compute",
  "data": "which rows are read, and how they are corrupted",
  "optimizer": "how the loss becomes an update, regularisation included",
  "schedule": "for how long, in what batches and at what rate to train",
  "compute": "how the same numbers are computed",
  "devices": "how the work is split, sized to the devices at hand",
  "logging": "what is measured, printed and kept",
}


@dataclasses.dataclass(frozen=True)
class Key:
  """What is declared about a key.

  Attributes:
    type: the annotation: int, float, bool, str or a Literal.
    default: its value where a recipe does not set it.
    doc: sentences for the user; the first one is a summary.
    scope: one of `SCOPES`, or a function from the key's group to one.
    choices: the table of the registry whose names are the allowed values.
    above, at_least, below, at_most: the range of a number.
    grown: whether growing an encoder takes it from the larger one.
    instead_of: keys of the same group that say the same in another unit: of all
      of them, one is not 0.
    of_one_phase: whether it holds for the phase that sets it alone, and is at
      its default again in the next.
  """

  type: Any
  default: Any
  doc: str
  scope: str | Callable[[Any], str]
  choices: Table | None = None
  above: float | None = None
  at_least: float | None = None
  below: float | None = None
  at_most: float | None = None
  grown: bool = False
  instead_of: tuple[str, ...] = ()
  of_one_phase: bool = False

  @property
  def summary(self) -> str:
    """Returns the first sentence of the doc string, without its period."""
    # The period of "et al." ends no sentence.
    return re.split(r"(?<!\bal)\. ", self.doc)[0].removesuffix(".")

  @property
  def type_name(self) -> str:
    """Returns the name of the type of its values."""
    return "str" if self._is_literal else self.type.__name__

  @property
  def values(self) -> tuple:
    """Returns the allowed values where these can be listed, else ()."""
    if self.type is bool:
      return (False, True)
    return tuple(self.choices or typing.get_args(self.type))

  @property
  def range(self) -> str:
    """Returns the range in words, "" where there is none."""
    bounds = {
      ">": self.above,
      ">=": self.at_least,
      "<": self.below,
      "<=": self.at_most,
    }
    return " and ".join(
      f"{sign} {bound}" for sign, bound in bounds.items() if bound is not None
    )

  def scope_in(self, group: Any) -> str:
    """Returns the scope, given the values of the key's group."""
    return self.scope(group) if callable(self.scope) else self.scope

  def check(self, name: str, value: Any) -> None:
    """Raises InputError where `value` is not allowed for the key `name`."""
    if not self._has_type(value):
      raise InputError(f"{name} must be {self.type_name}, not {value!r}")
    if self._is_literal and value not in self.values:
      raise unknown(name, value, self.values)
    if self.choices is not None:
      self.choices.check(value)
    if not self._is_in_range(value):
      raise InputError(f"{name} must be {self.range}, not {value!r}")

  @property
  def _is_literal(self) -> bool:
    return typing.get_origin(self.type) is Literal

  def _has_type(self, value) -> bool:
    if self._is_literal:
      return type(value) is str
    return type(value) is self.type or (
      self.type is float and type(value) is int
    )

  def _is_in_range(self, value) -> bool:
    return (
      (self.above is None or value > self.above)
      and (self.at_least is None or value >= self.at_least)
      and (self.below is None or value < self.below)
      and (self.at_most is None or value <= self.at_most)
    )


def key(default: Any, doc: str, *, scope, **declared) -> Any:
  """Declares a key: a dataclass field that a program can read.

  Args:
    default: its value where a recipe does not set it.
    doc: sentences for the user; the first one is a summary.
    scope: one of `SCOPES`, or a function from the key's group to one.
    **declared: further attributes of `Key`: its choices or range.
  """
  metadata = {"doc": doc, "scope": scope, **declared}
  return dataclasses.field(default=default, metadata=metadata)


def table() -> Any:
  """Declares a field of groups by name, `Mapping[str, a group's class]`.

  The names are those that a recipe gives them.
  """
  return dataclasses.field(default_factory=dict)


@functools.cache
def tables_of(group: type) -> Mapping[str, type]:
  """Returns the class of the groups in each table that a group has."""
  return MappingProxyType(
    {
      name: typing.get_args(hint)[1]
      for name, hint in typing.get_type_hints(group).items()
      if typing.get_origin(hint) is Mapping
    }
  )


@functools.cache
def keys_of(group: type) -> Mapping[str, Key]:
  """Returns the keys that a group of keys declares, by their names."""
  types = typing.get_type_hints(group)
  return MappingProxyType(
    {
      field.name: Key(types[field.name], field.default, **field.metadata)
      for field in dataclasses.fields(group)
      if field.metadata
    }
  )


def check_keys(group: Any, prefix: str = "") -> None:
  """Checks each value of a group against the declaration of its key.

  Args:
    group: an instance of a dataclass whose fields are made by `key`.
    prefix: what the names of its keys begin with in messages, "model.".

  Raises:
    InputError: a value of another type, out of range, or not a valid choice.
  """
  for name, declared in keys_of(type(group)).items():
    value = getattr(group, name)
    declared.check(prefix + name, value)
    for other in declared.instead_of if value else ():
      if getattr(group, other):
        raise InputError(
          f"{prefix}{name}={value!r} takes the place of {prefix}{other}="
          f"{getattr(group, other)!r}: set one of them to 0"
        )
