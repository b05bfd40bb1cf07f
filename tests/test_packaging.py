"""The wheel holds the package and the recipes, and works by itself."""

import configparser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

import mlm_jax

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
  """What is in the wheel, where Python would find it."""
  root = tmp_path_factory.mktemp("packaging")
  clone = root / "clone"
  # All of the clone that a build could pick up; it leaves traces there.
  for name in ("mlm_jax", "configs", "tests", "bench"):
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / name, clone / name, ignore=no_caches)
  for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
    shutil.copy(ROOT / name, clone)
  pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
  subprocess.run(
    [*pip, "--no-build-isolation", f"--wheel-dir={root}", str(clone)],
    check=True,
  )
  (wheel,) = root.glob("*.whl")
  zipfile.ZipFile(wheel).extractall(root / "unpacked")
  return root / "unpacked"


@pytest.fixture
def run(unpacked, tmp_path):
  """Returns a function that runs Python away from the clone: what it prints."""

  def run(*arguments):
    return subprocess.run(
      [sys.executable, *arguments],
      check=True,
      cwd=tmp_path,
      env=os.environ | {"PYTHONPATH": str(unpacked)},
      stdout=subprocess.PIPE,
      text=True,
    ).stdout

  return run


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_every_recipe(unpacked):
  for folder, inside in (
    ("mlm_jax", "mlm_jax"),
    ("configs", "mlm_jax/configs"),
  ):
    sources = [
      p.relative_to(ROOT / folder) for p in ROOT.glob(f"{folder}/**/*.py")
    ]
    assert sources
    for source in sources:
      assert (unpacked / inside / source).exists(), source


@pytest.mark.slow
def test_the_wheel_holds_nothing_else(unpacked):
  version = mlm_jax.__version__
  info = f"mlm_jax-{version}.dist-info"
  assert {path.name for path in unpacked.iterdir()} == {"mlm_jax", info}


@pytest.mark.slow
def test_the_wheel_runs_outside_the_clone(unpacked, run):
  place = run("-c", "import mlm_jax; print(mlm_jax.__file__)").strip()
  assert pathlib.Path(place).is_relative_to(unpacked)
  shown = run(
    "-m",
    "mlm_jax",
    "show_corruption",
    "--config=bert_base",
    "--times=1",
    "--text",
    "A list may be changed.",
  )
  assert "a list may be changed." in shown  # It is uncased.


@pytest.mark.slow
def test_console_script_is_the_module(unpacked, run):
  (path,) = unpacked.glob("*.dist-info/entry_points.txt")
  scripts = configparser.ConfigParser()
  scripts.read(path)
  module, _, function = scripts["console_scripts"]["mlm_jax"].partition(":")
  # What pip writes into a script.
  script = (
    f"import sys; from {module} import {function}; sys.exit({function}())"
  )
  for arguments in ([], ["train", "--help"]):
    assert run("-c", script, *arguments) == run("-m", "mlm_jax", *arguments)


def test_the_citation_is_of_this_version():
  text = (ROOT / "CITATION.cff").read_text()
  (version,) = re.findall(r'^version: "?([^"\n]+)"?$', text, re.MULTILINE)
  assert version == mlm_jax.__version__


def test_the_changelog_has_this_version():
  text = (ROOT / "CHANGELOG.md").read_text()
  assert f"\n## [{mlm_jax.__version__}]" in text
