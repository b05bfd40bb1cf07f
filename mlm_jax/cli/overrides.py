"""Overrides on the command line, read as ml_collections' flags read them."""

import dataclasses
import operator
import re
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from mlm_jax import config as config_lib
from mlm_jax.errors import InputError, first_line

# What a key of a type wants.
_WANTED = {int: "a whole number", float: "a number", bool: "True or False"}

# --config.phases.NAME.GROUP.KEY=VALUE overrides a key of one phase.
_PHASE_KEY = re.compile(r"phases\.([^.=]+)\.")


def parse(overrides: Sequence[str]) -> dict[str, Any]:
  """Returns the dotted keys of `--config.KEY=VALUE`s, with typed values.

  Raises:
    InputError: an argument is no override, or its key or value is not valid.
  """
  by_prefix: dict[str, list[str]] = {}
  for override in overrides:
    key = override.partition("=")[0].removeprefix("--")
    if not key.startswith("config."):
      raise InputError(f"unknown argument {override!r}")
    key = key.removeprefix("config.")
    match = _PHASE_KEY.match(key)
    prefix = match[0] if match else ""
    config_lib.check_key(key.removeprefix(prefix))
    override = override.replace(f"--config.{prefix}", "--config.", 1)
    by_prefix.setdefault(prefix, []).append(override)
  return {
    prefix + key: value
    for prefix, some in by_prefix.items()
    for key, value in _typed(some).items()
  }


def _typed(overrides: Sequence[str]) -> Mapping[str, Any]:
  argv = ["mlm_jax", *overrides]
  keys = [o.partition("=")[0].removeprefix("--config.") for o in overrides]
  parsed = flags.FlagValues()
  holder = config_flags.DEFINE_config_dict(
    "config", _defaults(keys), flag_values=parsed, sys_argv=argv
  )
  try:
    parsed(argv)
  except (flags.Error, ValueError, TypeError) as error:
    reason = first_line(error)
    wrong = re.match(r"flag --config\.([\w.]+)=(.*?): ", reason)
    wanted = wrong and _WANTED.get(config_lib.declared(wrong[1]).type)
    if wanted:
      reason = f"{wrong[1]} wants {wanted}, not {wrong[2]!r}"
    raise InputError(reason) from error
  return {key: operator.attrgetter(key)(holder.value) for key in keys}


def _defaults(keys: Sequence[str]) -> ml_collections.ConfigDict:
  """Returns the default of every key, those in tables included."""
  values = config_lib.default()
  for key in keys:
    group = key.rpartition(".")[0]
    table, _, entry = group.rpartition(".")
    if table in config_lib.tables():
      defaults = dataclasses.asdict(config_lib.tables()[table]())
      operator.attrgetter(table)(values)[entry] = defaults
  return ml_collections.ConfigDict(values)
