"""Overrides on the command line, read the way ml_collections' flags read them."""

import re
from collections.abc import Sequence

import ml_collections
from absl import flags
from ml_collections import config_flags

from mlm_jax import config as config_lib
from mlm_jax.config import Config
from mlm_jax.errors import InputError

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
