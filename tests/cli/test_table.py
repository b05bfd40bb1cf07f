"""What --help shows can be run, and a shell completes rightly and quickly."""

import os
import pathlib
import shlex
import subprocess
import sys

import pytest

from mlm_jax import config as config_lib
from mlm_jax import recipes, registry
from mlm_jax.cli import overrides as overrides_lib
from mlm_jax.cli.main import main
from mlm_jax.cli.table import COMMANDS, parser
from mlm_jax.phases import Recipe

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_examples_that_parse(name):
  examples = COMMANDS[name].examples
  assert 1 <= len(examples) <= 3
  for example in examples:
    args, overrides = parser(name).parse_known_args(shlex.split(example))
    if COMMANDS[name].configured:
      keys = overrides_lib.parse(overrides)
      # Without a recipe, a work directory has the values; any will do here.
      recipe = Recipe(config_lib.Config())
      if args.config:
        recipe = recipes.load(args.config)
      recipes.override(recipe, keys)
    else:
      assert not overrides
    if getattr(args, "grow_to", ""):
      recipes.read(args.grow_to)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_the_examples(capsys, name):
  with pytest.raises(SystemExit):
    main([name, "--help"])
  examples = [f"  mlm_jax {name} {e}" for e in COMMANDS[name].examples]
  assert capsys.readouterr().out.splitlines()[-len(examples) :] == examples


@pytest.fixture
def complete(tmp_path):
  """Returns a function from a line to the words that may stand at its end.

  It asks as a shell does, and returns the modules that this imported, too.
  """

  def complete(line, shell="bash"):
    out = tmp_path / "out"
    asked = {
      "_ARGCOMPLETE": "1",
      "_ARGCOMPLETE_IFS": "\n",
      "_ARGCOMPLETE_SHELL": shell,
      "_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n\"'><;|&(",
      "_ARGCOMPLETE_STDOUT_FILENAME": str(out),
      "COMP_LINE": line,
      "COMP_POINT": str(len(line)),
      "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
      [sys.executable, "-X", "importtime", "-m", "mlm_jax"],
      check=True,
      cwd=tmp_path,
      env=os.environ | asked,
      stderr=subprocess.PIPE,
      text=True,
    )
    imported = {
      line.rpartition("|")[2].strip() for line in done.stderr.splitlines()
    }
    return set(out.read_text().split("\n")), imported

  return complete


@pytest.mark.parametrize(
  ("line", "words"),
  [
    ("mlm_jax ", COMMANDS),
    ("mlm_jax tr", ["train "]),
    ("mlm_jax embed --po", ["--pool "]),
    ("mlm_jax embed --pool=", ["--pool=mean", "--pool=start"]),
    ("mlm_jax train --multi", ["--multihost "]),
    ("mlm_jax train --config=quick", ["--config=quickstart "]),
    ("mlm_jax train --config neo", ["neobert "]),
    ("mlm_jax train --config=neobert:", ["--config=neobert:tiny "]),
    ("mlm_jax import_hf --grow_to=neo", ["--grow_to=neobert "]),
    ("mlm_jax train --config.optim.pe", ["--config.optim.peak_lr="]),
    ("mlm_jax train --config.s", ["--config.seed="]),
    (
      "mlm_jax train --config.data.packing=b",
      ["--config.data.packing=best_fit "],
    ),
    (
      "mlm_jax prepare --workdir=a --config.data.lowercase=",
      ["--config.data.lowercase=True", "--config.data.lowercase=False"],
    ),
    (
      "mlm_jax train --config.optim.schedule=",
      [f"--config.optim.schedule={name}" for name in registry.SCHEDULES],
    ),
    ("mlm_jax show_config --explain=mesh.f", ["--explain=mesh.fsdp "]),
    ("mlm_jax evaluate --config.s", [""]),
  ],
)
def test_completion_of_a_word(complete, line, words):
  found, _ = complete(line)
  # Of commands, options come too.
  assert found - {"-h", "--help"} == set(words)


def test_completion_knows_every_key(complete):
  found, _ = complete("mlm_jax train --config.")
  assert found == {f"--config.{key}=" for key in config_lib.key_types()}


def test_completion_shows_key_descriptions(complete):
  found, _ = complete("mlm_jax train --config.optim.b", shell="zsh")
  keys = config_lib.keys()
  assert found == {
    f"--config.{name}=:{keys[name].summary}"
    for name in ("optim.b1", "optim.b2")
  }


def test_completion_shows_options_before_keys(complete):
  found, _ = complete("mlm_jax train --")
  flags = {flag for flag, _ in COMMANDS["train"].arguments}
  assert found == flags | {"--help", "--config", "--workdir"}


def test_completion_imports_nothing_heavy(complete):
  _, imported = complete("mlm_jax train --config.optim.pe")
  assert {"argcomplete", "mlm_jax.config"} <= imported
  roots = {name.partition(".")[0] for name in imported}
  assert not roots & {"jax", "flax", "numpy", "orbax", "tensorflow", "torch"}
