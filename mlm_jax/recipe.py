"""Recipes and overrides, read the way ml_collections' flags read them."""

import os
import pathlib
import re
import runpy
from collections.abc import Sequence

import ml_collections
from absl import flags
from ml_collections import config_flags

from mlm_jax import config as config_lib
from mlm_jax.config import Config
from mlm_jax.errors import InputError, unknown

_PACKAGE = pathlib.Path(__file__).parent
# In a clone they stand beside the package, in a wheel within it.
_SHIPPED = _PACKAGE.parent / "configs"
if (_PACKAGE / "configs").is_dir():
  _SHIPPED = _PACKAGE / "configs"

# What a key of a type wants.
_WANTED = {int: "a whole number", float: "a number", bool: "True or False"}


def load(values: ml_collections.ConfigDict, overrides: Sequence[str]) -> Config:
  """Returns the configuration of a recipe and `--config.GROUP.KEY=VALUE`s.

  Raises:
    InputError: an override is none, or its key or value is not known.
  """
  for override in overrides:
    key = override.partition("=")[0].removeprefix("--")
    if not key.startswith("config."):
      raise InputError(f"unknown argument {override!r}")
    config_lib.check_key(key.removeprefix("config."))
  argv = ["mlm_jax", *overrides]
  parsed = flags.FlagValues()
  holder = config_flags.DEFINE_config_dict(
    "config", values, flag_values=parsed, sys_argv=argv
  )
  try:
    parsed(argv)
  except (flags.Error, ValueError, TypeError) as error:
    reason = str(error).strip().partition("\n")[0]
    wrong = re.match(r"flag --config\.([\w.]+)=(.*?): ", reason)
    wanted = wrong and _WANTED.get(config_lib.key_types()[wrong[1]])
    if wanted:
      reason = f"{wrong[1]} wants {wanted}, not {wrong[2]!r}"
    raise InputError(reason) from error
  return config_lib.build(holder.value)


def shipped() -> dict[str, str]:
  """Returns the paths of the recipes that come with mlm_jax, by their names."""
  return {path.stem: str(path) for path in sorted(_SHIPPED.glob("*.py"))}


def _find(name: str) -> str:
  """Returns the path of a recipe, given that or the name of a shipped one."""
  if os.path.isfile(name):
    if os.path.splitext(name)[1] not in ("", ".py"):
      raise InputError(f"{name} is no recipe: those are Python files, *.py")
    return name
  if os.path.basename(name) != name or name.endswith(".py"):
    raise InputError(f"no recipe at {name}")
  if name not in shipped():
    raise unknown("recipe", name, shipped())
  return shipped()[name]


def read(name: str) -> ml_collections.ConfigDict:
  """Returns what a recipe, a Python file with a `get_config`, asks for.

  Args:
    name: its path, or the bare name of a shipped one, such as bert_base.

  Raises:
    InputError: there is none, or it fails.
  """
  path = _find(name)
  try:
    recipe = runpy.run_path(path)
    values = recipe["get_config"]() if "get_config" in recipe else None
  except Exception as error:  # Whatever a recipe may raise.
    # ml_collections names the nearest key last, within a KeyError's quotes.
    while error.args and isinstance(error.args[0], Exception):
      error = error.args[0]
    text = error.args[0] if isinstance(error, KeyError) else error
    lines = str(text).strip().splitlines() or [type(error).__name__]
    raise InputError(f"{path}: {lines[-1]}") from error
  if not isinstance(values, ml_collections.ConfigDict):
    raise InputError(
      f"{path} needs a get_config() that returns a ConfigDict, not {values!r}"
    )
  return values
