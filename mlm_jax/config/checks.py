"""What the groups of keys check alike."""

import typing
from typing import Literal

from mlm_jax.errors import InputError, require, unknown


def check_types(group, prefix):
  for key, kind in typing.get_type_hints(type(group)).items():
    value = getattr(group, key)
    if typing.get_origin(kind) is Literal:
      if value not in typing.get_args(kind):
        raise unknown(f"{prefix}.{key}", value, typing.get_args(kind))
    elif type(value) is not kind and not (kind is float and type(value) is int):
      raise InputError(f"{prefix}.{key} must be {kind.__name__}, not {value!r}")


def check_range(group, prefix, *, above_0=(), from_0=(), from_0_below_1=()):
  for keys, holds, words in (
    (above_0, lambda value: value > 0, "> 0"),
    (from_0, lambda value: value >= 0, "0 or more"),
    (from_0_below_1, lambda value: 0 <= value < 1, "in [0, 1)"),
  ):
    for key in keys:
      value = getattr(group, key)
      require(holds(value), f"{prefix}.{key} must be {words}, not {value}")
