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
  values = config_lib.flat(config)
  if args.explain is None:
    width = max(map(len, values))
    lines = [_line(name, value, width) for name, value in values.items()]
    lines += [f"{key}  {value!r}" for key, value in recipe.phase_keys().items()]
    print("\n".join(lines))
    return
  names = _explained(args.explain)
  width = max(map(len, config_lib.keys()))
  paragraphs = []
  for name in names:
    key = config_lib.declared(name)
    # A corpus that is not there would have its keys at their defaults.
    value = values.get(name, key.default)
    lines = [_line(name, value, width), *_wrapped(key.doc)]
    if args.explain:
      lines += _declared(name, config)
    paragraphs.append("\n".join(lines))
  print("\n\n".join(paragraphs))


def _line(name: str, value, width: int) -> str:
  """Returns a key and its value, and its default if it differs."""
  default = config_lib.declared(name).default
  differs = f"  (not {default!r})" if value != default else ""
  return f"{name:<{width}}  {value!r}{differs}"


def _explained(asked: str) -> list[str]:
  """Returns the names of the keys that `--explain=ASKED` is about.

  Args:
    asked: a key, or a group of keys, or "" for all of them.

  Raises:
    InputError: there is no such key or group; suggests the closest name.
  """
  names, groups = list(config_lib.keys()), config_lib.groups()
  declared = config_lib.declared_name(asked)
  if declared in names:
    return [asked]
  if asked and declared not in groups:
    raise unknown("configuration key or group", asked, [*groups, *names])
  return [
    name.replace(declared, asked, 1)
    for name in names
    if not asked or name.startswith(f"{declared}.")
  ]


def _declared(name: str, config: Config) -> list[str]:
  """Returns lines on the type, default, allowed values and scope of a key."""
  key: Key = config_lib.declared(name)
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
