"""Recipe files: found by name or path, read, and based on one another.

A recipe is a Python file with a `get_config` that returns a locked ConfigDict.
It starts from `config.default()` or from another recipe, and sets what differs:

    from mlm_jax import families, recipes

    def get_config(variant=""):
      config = recipes.base("bert_base")
      config.model.update(families.LARGE)
      return recipes.vary(config, variant, tiny=recipes.tiny)

`--config=NAME:VARIANT` calls `get_config(VARIANT)`, as ml_collections does. A
`get_phases`, likewise, may return what the phases of a run differ in: a dict
from the name of each, in order, to a dict of dotted keys.
"""

import dataclasses
import inspect
import os
import pathlib
import re
import runpy
from collections.abc import Callable, Mapping
from typing import Any

import ml_collections

from mlm_jax import config as config_lib
from mlm_jax import families, phases, registry
from mlm_jax.errors import InputError, require, unknown

_PACKAGE = pathlib.Path(__file__).parent
# Beside the package in a clone, inside it in a wheel.
_SHIPPED = _PACKAGE.parent / "configs"
if (_PACKAGE / "configs").is_dir():
  _SHIPPED = _PACKAGE / "configs"


# The files being read, each the base of the one before, with the names of their
# bases that have phases.
_reading: dict[tuple[str, str], list[str]] = {}


@dataclasses.dataclass(frozen=True)
class RecipeFile:
  """What a recipe file returned.

  Attributes:
    path: the file.
    variant: the one that was asked for, or "".
    values: every key, locked.
    phases: phase name -> the dotted keys that differ from the phase before, in
      order; empty where the file has no `get_phases`.
  """

  path: str
  variant: str
  values: ml_collections.ConfigDict
  phases: dict[str, dict[str, Any]]


def shipped() -> dict[str, str]:
  """Returns the paths of the recipes that come with mlm_jax, by their names."""
  return {path.stem: str(path) for path in sorted(_SHIPPED.glob("*.py"))}


def file(name: str) -> pathlib.Path:
  """Returns a file that stands beside the shipped recipes."""
  return _SHIPPED / name


def read(name: str) -> RecipeFile:
  """Reads a recipe file.

  Args:
    name: a path, or the bare name of a shipped recipe, such as bert_base;
      either may end in :VARIANT.

  Raises:
    InputError: there is no such recipe or variant, or the file fails.
  """
  path, variant = _find(name)
  path = os.path.realpath(path)  # By which registrations are known.
  require((path, variant) not in _reading, f"{path} is based on itself")
  _reading[path, variant] = phased_bases = []
  try:
    # A file may register its own objective, say, and may be read again.
    with registry.registrations_from(path):
      functions = runpy.run_path(path)
      values = _values(functions.get("get_config"), variant)
      require(
        "get_phases" in functions or not phased_bases,
        f"the base {' and '.join(phased_bases)} has phases: define "
        "get_phases(), which may return recipes.base_phases(...) or {}",
      )
      diffs = _phases(functions.get("get_phases"), variant)
  except Exception as error:  # Whatever a recipe may raise.
    raise InputError(f"{path}: {_last_line(error)}") from error
  finally:
    del _reading[path, variant]
  return RecipeFile(path, variant, values, diffs)


def load(
  name: str, overrides: Mapping[str, Any] | None = None
) -> phases.Recipe:
  """Returns a recipe, resolved to its phases.

  Args:
    name: as for `read`.
    overrides: dotted keys to set; "phases.NAME.KEY" sets one in a phase.

  Raises:
    InputError: as `read` and `override` do.
  """
  file = read(name)
  path = file.path
  if path in map(os.path.realpath, shipped().values()):
    path = ""
  values = _flatten(file.values.to_dict())
  return _override(values, file.phases, path, overrides or {})


def override(recipe: phases.Recipe, keys: Mapping[str, Any]) -> phases.Recipe:
  """Returns a recipe with other values.

  Args:
    recipe: what to change.
    keys: dotted keys of the base, or "phases.NAME.KEY" of one phase.

  Raises:
    InputError: an unknown key or phase; a key of the base that phases set
      themselves; or values that do not go together.
  """
  values = config_lib.flat(recipe.base)
  return _override(values, recipe.diffs, recipe.path, keys)


def _override(values, diffs, path, keys) -> phases.Recipe:
  diffs, of_base, of_phases = dict(diffs), {}, {}
  for key, value in keys.items():
    if key.startswith("phases."):
      require(key.count(".") > 1, f"{key} is not of the form phases.NAME.KEY")
      _, name, key = key.split(".", 2)
      if name not in diffs:
        raise unknown("phase", name, diffs, "the recipe has no phases")
      config_lib.check_key(key)
      of_phases.setdefault(name, {})[key] = value
      continue
    config_lib.check_key(key)
    setting = [name for name, diff in diffs.items() if key in diff]
    require(
      not setting,
      f"{key} is set by the phases {', '.join(setting)}: override "
      + " and ".join(f"phases.{name}.{key}" for name in setting),
    )
    of_base[key] = value
  values = config_lib.merge(values, of_base)
  for name, of_phase in of_phases.items():
    diffs[name] = config_lib.merge(diffs[name], of_phase)
  return phases.Recipe(config_lib.build(config_lib.nest(values)), diffs, path)


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
  flat = {}
  for name, value in values.items():
    if isinstance(value, Mapping):
      inner = _flatten(value).items()
      flat |= {f"{name}.{key}": inner_value for key, inner_value in inner}
    else:
      flat[name] = value
  return flat


def base(name: str, variant: str = "") -> ml_collections.ConfigDict:
  """Returns the values of another recipe, for a recipe to start from.

  A recipe whose base has phases defines a `get_phases` of its own.
  """
  file = read(f"{name}:{variant}" if variant else name)
  if file.phases and _reading:
    _reading[next(reversed(_reading))].append(repr(name))
  return file.values


def base_phases(name: str, variant: str = "") -> dict[str, dict[str, Any]]:
  """Returns the phases of another recipe, for `get_phases` to start from."""
  return read(f"{name}:{variant}" if variant else name).phases


def vary(
  values: ml_collections.ConfigDict,
  variant: str,
  **variants: Callable[[ml_collections.ConfigDict], None],
) -> ml_collections.ConfigDict:
  """Returns a recipe's values, changed to one of its variants.

  Args:
    values: of the recipe; changed in place.
    variant: the one that was asked for, or "" for the recipe as it is.
    **variants: a function that changes the values, for each variant.

  Raises:
    InputError: the recipe lacks the variant; lists those it has.
  """
  if variant:
    require(
      variant in variants,
      f"unknown variant {variant!r}; known: {', '.join(variants)}",
    )
    variants[variant](values)
  return values


def single(values: ml_collections.ConfigDict) -> None:
  """Leaves the values as they are; `get_phases` may have none for it."""


def causal(values: ml_collections.ConfigDict) -> None:
  """Trains the same model by predicting the next token, as a decoder."""
  values.objective.name = "causal_lm"
  values.corruption.kind = "next_token"


# Variants of a recipe of an encoder that also trains a decoder (Ettin).
CROSS_OBJECTIVE = {
  "decoder": causal,
  "from_decoder": causal,
  "to_decoder": single,
}


def tiny(values: ml_collections.ConfigDict) -> None:
  """Shrinks a recipe to what two CPU cores train in minutes.

  The family, the objective and the corruption stay. The corpus is the
  documentation that every Python holds.
  """
  model = values.model
  values.data.update(
    corpus="tfds:python_docs",
    heldout_fraction=0.1,
    tokenizer="unigram",
    vocab_size=1024,
    lowercase=True,
    seq_len=32,
  )
  model.update(
    families.NO_DROPOUT,
    num_layers=2,
    width=128,
    num_heads=4,
    mlp_width=320 if model.glu else 512,
  )
  if model.num_kv_heads:
    model.num_kv_heads = 2
  if model.num_decoder_layers:
    model.num_decoder_layers = 2
  if model.init_stddev:
    # A small table tells pieces apart sooner when it starts wider.
    model.init_stddev = 0.05
  # More targets a row are more to learn from in a run this short.
  values.corruption.mask_rate = max(values.corruption.mask_rate, 0.3)
  values.optim.update(
    peak_lr=2e-3,
    initial_lr_share=0.0,
    warmup_steps=100,
    warmup_tokens=0,
    warmup_hours=0.0,
    schedule="linear",
    decay_steps=0,
    b2=0.98,
    clip_norm=1.0,
  )
  if values.optim.name in ("lamb", "adafactor"):
    # LAMB is for batches of thousands of rows, Adafactor's rate is relative.
    values.optim.name = "adamw"
  values.train.update(
    steps=1_000,
    tokens=0,
    hours=0.0,
    batch_size=32,
    initial_batch_size=0,
    microbatches=1,
    log_every=50,
    eval_every=500,
    checkpoint_every=500,
  )
  if values.model.share_layers or values.objective.span_boundary:
    # One block for all layers learns slowly, and so do two losses.
    values.train.steps = 2_000
  if values.model.share_layers:
    values.corruption.mask_rate = 0.4
  if values.objective.name == "rtd":
    # Beside a heavy detection loss, a small generator learns no context here.
    values.objective.update(generator_share=1.0, rtd_weight=1.0)
    values.train.steps = 2_000


def _find(name: str) -> tuple[str, str]:
  """Returns the path and the variant in PATH[:VARIANT] or NAME[:VARIANT]."""
  variant = ""
  if not os.path.isfile(name):
    # Colons before a slash belong to the path: gs://..., C:\...
    name, variant = re.fullmatch(r"(.*?)(?::([^:/\\]*))?", name).groups("")
  if os.path.isfile(name):
    require(
      os.path.splitext(name)[1] in ("", ".py"),
      f"{name} is no recipe: those are Python files, *.py",
    )
    return name, variant
  if os.path.basename(name) != name or name.endswith(".py"):
    raise InputError(f"no recipe at {name}")
  if name not in shipped():
    raise unknown("recipe", name, shipped())
  return shipped()[name], variant


def _call(function: Callable[..., Any], variant: str) -> Any:
  if not variant:
    return function()
  require(
    inspect.signature(function).parameters,
    f"{function.__name__}() takes no variant, so there is no {variant!r}",
  )
  return function(variant)


def _values(get_config: Any, variant: str) -> ml_collections.ConfigDict:
  values = _call(get_config, variant) if callable(get_config) else None
  require(
    isinstance(values, ml_collections.ConfigDict),
    f"a recipe needs a get_config() that returns a ConfigDict, not {values!r}",
  )
  return values


def _phases(get_phases: Any, variant: str) -> dict[str, dict[str, Any]]:
  diffs = _call(get_phases, variant) if get_phases else {}
  require(
    isinstance(diffs, Mapping)
    and all(isinstance(name, str) for name in diffs)
    and all(isinstance(keys, Mapping) for keys in diffs.values()),
    "get_phases() must return a dict from each phase's name to a dict of keys, "
    f"not {diffs!r}",
  )
  for keys in diffs.values():
    for key in keys:
      config_lib.check_key(key)
  return {name: dict(keys) for name, keys in diffs.items()}


def _last_line(error: Exception) -> str:
  """Returns the line of an exception that names what was wrong."""
  # ml_collections names the nearest key last, within a KeyError's quotes.
  while error.args and isinstance(error.args[0], Exception):
    error = error.args[0]
  text = error.args[0] if isinstance(error, KeyError) else error
  lines = str(text).strip().splitlines() or [type(error).__name__]
  return lines[-1]
