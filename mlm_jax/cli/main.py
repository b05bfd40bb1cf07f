"""`python -m mlm_jax COMMAND ...`, or `mlm_jax COMMAND ...`."""

import _thread
import os
import sys
import threading

# Set before TensorFlow and JAX are imported, to silence their start-up logs.
# TensorFlow computes integers only, for which oneDNN has no use.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# Or TensorFlow would import Keras, a quarter of its start.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from mlm_jax import __version__, recipes
from mlm_jax import config as config_lib
from mlm_jax.cli import overrides as overrides_lib
from mlm_jax.cli.table import COMMANDS, parser
from mlm_jax.errors import InputError, TrainingError, require, unknown
from mlm_jax.phases import Recipe
from mlm_jax.workdir import Workdir


def main(argv: list[str] | None = None) -> int:
  """Runs the command of the arguments; returns what the process exits with."""
  if "_ARGCOMPLETE" in os.environ:
    from mlm_jax.cli import completion

    completion.complete()
  argv = sys.argv[1:] if argv is None else argv
  try:
    if not argv or argv[0] in ("-h", "--help", "help"):
      _print_commands()
      return 0
    if argv[0] == "--version":
      print(f"mlm_jax {__version__}")
      return 0
    name, *rest = argv
    if name not in COMMANDS:
      raise unknown("command", name, COMMANDS)
    command = COMMANDS[name]
    args, overrides = parser(name).parse_known_args(rest)
    if command.configured:
      # compile_check --all takes every recipe, and no overrides.
      takes_all = getattr(args, "all", False)
      recipe = None if takes_all else _recipe(args, overrides)
      _quiet()
      command.run(args, recipe)
    else:
      if overrides:
        raise InputError(f"{name} does not know {overrides[0]!r}")
      _quiet()
      command.run(args)
  except InputError as error:
    print(f"mlm_jax: {error}", file=sys.stderr)
    return 2
  except TrainingError as error:
    print(f"mlm_jax: {error}", file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    print("mlm_jax: interrupted", file=sys.stderr)
    return 130  # As shells have it.
  return 0


def _print_commands():
  print("usage: python -m mlm_jax COMMAND [--help] ...\n")
  width = max(map(len, COMMANDS))
  for name, command in COMMANDS.items():
    print(f"  {name:<{width}} {command.about}")


def _recipe(args, overrides: list[str]) -> Recipe:
  """Returns the recipe of the arguments, or the work directory's own."""
  keys = overrides_lib.parse(overrides)
  if args.config:
    return recipes.load(args.config, keys)
  if getattr(args, "explain", None) is not None and not args.workdir:
    # Whoever looks for a key may have no recipe yet.
    return recipes.override(Recipe(config_lib.Config()), keys)
  require(args.workdir, "--config=RECIPE or --workdir=DIR is needed")
  workdir = Workdir.at(args.workdir)
  require(
    workdir.config.exists(),
    f"--config=RECIPE is needed: {workdir.root} has no config.json yet",
  )
  return recipes.override(workdir.load_recipe(), keys)


def _quiet() -> None:
  """Keeps libraries' logs off the screen, but for errors."""
  import logging
  import warnings

  import absl.logging
  import jax

  absl.logging.set_verbosity(absl.logging.ERROR)
  for name in ("jax", "urllib3"):
    logging.getLogger(name).setLevel(logging.ERROR)
  warnings.simplefilter("ignore")
  sys.unraisablehook = _unraisable
  cache = os.path.expanduser("~/.cache/mlm_jax/xla")
  if not jax.config.jax_compilation_cache_dir:
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _unraisable(unraisable) -> None:
  """Silences exceptions that no code can catch.

  Orbax leaves coroutines behind when a broken file ends its reading. A Ctrl-C
  during a garbage collection would end in a callback of JAX's: it comes again.
  """
  if isinstance(unraisable.exc_value, KeyboardInterrupt):
    # From another thread: here it would be lost as well.
    threading.Timer(0.01, _thread.interrupt_main).start()
