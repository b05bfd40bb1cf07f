"""Help, versions, unknown commands and interrupts."""

import subprocess
import sys

import pytest

from mlm_jax import __version__
from mlm_jax.cli.main import COMMANDS, main
from tests.cli.conftest import fail


@pytest.mark.parametrize("argv", [[], ["--help"]])
def test_no_command_lists_all_commands(capsys, argv):
  assert main(argv) == 0
  shown = capsys.readouterr().out
  for name, command in COMMANDS.items():
    assert f"  {name}" in shown
    assert command.about in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(capsys, name):
  with pytest.raises(SystemExit) as done:
    main([name, "--help"])
  assert done.value.code == 0
  shown = capsys.readouterr().out
  assert "--workdir" in shown
  assert ("--config" in shown) == COMMANDS[name].configured


@pytest.mark.parametrize(
  ("given", "nearest"),
  [("trian", "train"), ("evalute", "evaluate"), ("fill-mask", "fill_mask")],
)
def test_unknown_command_suggests_the_closest(capsys, given, nearest):
  line = fail(capsys, [given])
  assert line == f"unknown command {given!r}; did you mean {nearest!r}?"


def test_interrupted_command_prints_one_line(capsys, monkeypatch):
  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr("mlm_jax.recipes.read", interrupt)
  assert main(["train", "--config=quickstart", "--workdir=w"]) == 130
  assert capsys.readouterr().err == "mlm_jax: interrupted\n"


def test_interrupt_during_garbage_collection_is_not_lost():
  """Exceptions of its callbacks reach nobody; JAX has set up one."""
  program = """
import dataclasses, gc, signal, sys
from mlm_jax.cli import main

# A shell starts what runs in the background with the signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

def collect(*_):
  callback = lambda phase, info: phase == "start" and signal.raise_signal(2)
  gc.callbacks.append(callback)
  gc.collect()
  gc.callbacks.remove(callback)
  while True:
    pass

main._recipe = lambda *_: None
command = main.COMMANDS["prepare"]
main.COMMANDS["prepare"] = dataclasses.replace(command, run=collect)
sys.exit(main.main(["prepare", "--config=a", "--workdir=w"]))
"""
  done = subprocess.run(
    [sys.executable, "-c", program],
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert (done.returncode, done.stderr) == (130, "mlm_jax: interrupted\n")


def test_version_option(capsys):
  assert main(["--version"]) == 0
  assert __version__ in capsys.readouterr().out


def test_unknown_command_without_a_close_name_lists_all(capsys):
  line = fail(capsys, ["xyzzy"])
  assert all(name in line for name in COMMANDS)
