"""The command that lists the configuration keys, and explains them."""

import textwrap

from mlm_jax import config as config_lib
from mlm_jax.config import Config, Key
from mlm_jax.errors import unknown
from mlm_jax.phases import Recipe
from mlm_jax.workdir import Workdir

_WIDTH = 80


def show_config(args, recipe: Recipe) -> None:
  if args.workdir:
    workdir = Workdir.at(args.workdir)
    recipe, _ = workdir.adapt(recipe)
    workdir.check(recipe)
  config = recipe.base
  values = _values(config)
  if args.explain is None:
    of_phases = [
      f"{key}  {value!r}" for key, value in recipe.phase_keys().items()
    ]
    print("\n".join([*values.values(), *of_phases]))
    return
  paragraphs = []
  for name in _explained(args.explain):
    lines = [values[name], *_wrapped(config_lib.keys()[name].doc)]
    if args.explain:
      lines += _declared(name, config)
    paragraphs.append("\n".join(lines))
  print("\n\n".join(paragraphs))


def _values(config: Config) -> dict[str, str]:
  """Returns a line for each key: its value, and its default if it differs."""
  values = config_lib.flat(config)
  width = max(map(len, values))
  lines = {}
  for name, value in values.items():
    lines[name] = f"{name:<{width}}  {value!r}"
    default = config_lib.keys()[name].default
    if value != default:
      lines[name] += f"  (not {default!r})"
  return lines


def _explained(asked: str) -> list[str]:
  """Returns the names of the keys that `--explain=ASKED` is about.

  Args:
    asked: a key, or a group of keys, or "" for all of them.

  Raises:
    InputError: there is no such key or group; suggests the closest name.
  """
  names = list(config_lib.keys())
  if asked in names:
    return [asked]
  groups = config_lib.groups()
  if asked and asked not in groups:
    raise unknown("configuration key or group", asked, [*groups, *names])
  return [name for name in names if not asked or name.startswith(f"{asked}.")]


def _declared(name: str, config: Config) -> list[str]:
  """Returns lines on the type, default, allowed values and scope of a key."""
  key: Key = config_lib.keys()[name]
  scope = config_lib.scope_of(name, config)
  allowed = ", ".join(map(repr, key.values)) or key.range or "any"
  facts = {
    "type": key.type_name,
    "default": repr(key.default),
    "allowed": allowed,
    "scope": f"{scope}: {config_lib.SCOPES[scope]}",
    "may change": config_lib.when(scope),
  }
  return [
    line
    for fact, text in facts.items()
    for line in _wrapped(text, f"{fact:<12}")
  ]


def _wrapped(text: str, label: str = "") -> list[str]:
  return textwrap.wrap(
    text,
    _WIDTH,
    initial_indent=f"  {label}",
    subsequent_indent=" " * (2 + len(label)),
    break_long_words=False,
    break_on_hyphens=False,
  )
