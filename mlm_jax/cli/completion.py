"""What a shell completes: commands, options, keys, their values, recipes.

A user of bash or zsh runs `eval "$(register-python-argcomplete mlm_jax)"`. This
is run at each press of Tab, so nothing heavy may be imported.
"""

import argparse
import typing

import argcomplete

from mlm_jax import config as config_lib
from mlm_jax import recipes
from mlm_jax.cli.table import COMMANDS, add_arguments

_KEY = "--config."


def complete() -> None:
  """Writes what may stand at the cursor to the shell that asks, and exits."""
  _Finder()(_whole_parser())


class _Finder(argcomplete.CompletionFinder):
  """Shows keys once they are asked for, as what a value must follow."""

  def collect_completions(self, active_parsers, parsed_args, cword_prefix):
    found = super().collect_completions(
      active_parsers, parsed_args, cword_prefix
    )
    if not cword_prefix.startswith(_KEY):
      # A hundred keys would hide the options.
      return [word for word in found if not word.startswith(_KEY)]
    return [word if "=" in word else f"{word}=" for word in found]


def _whole_parser() -> argparse.ArgumentParser:
  """Returns a parser of all commands, with every key an option."""
  whole = argparse.ArgumentParser(prog="mlm_jax", allow_abbrev=False)
  commands = whole.add_subparsers()
  for name, command in COMMANDS.items():
    one = commands.add_parser(name, help=command.about, allow_abbrev=False)
    added = add_arguments(one, command)
    for flag, completer in _COMPLETERS.items():
      if flag in added:
        added[flag].completer = completer
    if command.configured:
      for key, kind in config_lib.key_types().items():
        option = one.add_argument(_KEY + key)
        option.completer = _values(kind)
  return whole


def _values(kind: type):
  """Returns a completer of what a key of a type may be."""
  values = ("False", "True") if kind is bool else typing.get_args(kind)
  if not values and kind is str:
    return argcomplete.FilesCompleter()
  return argcomplete.ChoicesCompleter(values)


def _recipes(prefix, **_):
  names = [*recipes.shipped(), *argcomplete.FilesCompleter(["py"])(prefix)]
  if prefix.removesuffix(":tiny") in recipes.shipped():
    names.append(f"{prefix}:tiny")
  return names


_COMPLETERS = {
  "--config": _recipes,
  "--grow_to": _recipes,
  "--checkpoint": argcomplete.ChoicesCompleter(["last", "best"]),
}
