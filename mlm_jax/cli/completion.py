"""What a shell completes: commands, options, keys, their values, recipes.

A user of bash or zsh runs `eval "$(register-python-argcomplete mlm_jax)"`. This
is run at each press of Tab, so nothing heavy may be imported.
"""

import argparse

import argcomplete

from mlm_jax import config as config_lib
from mlm_jax import recipes
from mlm_jax.cli.table import COMMANDS, add_arguments

_KEY = "--config."


def complete() -> None:
  """Writes the completions at the cursor for the shell, and exits."""
  _Finder()(_whole_parser())


class _Finder(argcomplete.CompletionFinder):
  """Completes keys after --config. only, each with "=" for its value."""

  def collect_completions(self, active_parsers, parsed_args, cword_prefix):
    found = super().collect_completions(
      active_parsers, parsed_args, cword_prefix
    )
    if not cword_prefix.startswith(_KEY):
      # There are too many keys to list among the options.
      return [word for word in found if not word.startswith(_KEY)]
    help_of = self.get_display_completions()
    help_of |= {f"{word}=": text for word, text in help_of.items()}
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
      for key_name, key in config_lib.keys().items():
        # argparse would expand a "%".
        summary = key.summary.replace("%", "%%")
        option = one.add_argument(_KEY + key_name, help=summary)
        option.completer = _values(key)
  return whole


def _values(key: config_lib.Key):
  """Returns a completer of the values that a key may have."""
  if not key.values and key.type is str:
    return argcomplete.FilesCompleter()
  return argcomplete.ChoicesCompleter(key.values)


def _recipes(prefix, **_):
  if ":" in prefix:
    return [f"{name}:tiny" for name in recipes.shipped()]
  return [*recipes.shipped(), *argcomplete.FilesCompleter(["py"])(prefix)]


_COMPLETERS = {
  "--config": _recipes,
  "--grow_to": _recipes,
  "--explain": argcomplete.ChoicesCompleter(
    [*config_lib.groups(), *config_lib.keys()]
  ),
  "--checkpoint": argcomplete.ChoicesCompleter(["last", "best"]),
}
