"""launch/Dockerfile, checked without Docker."""

import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
DOCKERFILE = ROOT / "launch/Dockerfile"


@pytest.fixture(scope="module")
def steps():
  """The instructions without comments, as (name, arguments)."""
  text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
  lines = text.replace("\\\n", "").splitlines()
  return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def installing(steps):
  """Returns the index of the installing step and its shell command."""
  return next(
    (i, rest) for i, (_, rest) in enumerate(steps) if "pip install" in rest
  )


def copied(steps):
  return [
    source
    for name, rest in steps
    if name == "COPY"
    for source in rest.split()[:-1]
  ]


def requirement(steps, platform, tmp_path):
  """Runs the installing step with a fake pip that prints its last argument."""
  pip = tmp_path / "pip"
  pip.write_text('#!/bin/sh\nfor last; do :; done\necho "$last"\n')
  pip.chmod(0o755)
  return subprocess.run(
    ["sh", "-c", installing(steps)[1]],
    env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "PLATFORM": platform},
    capture_output=True,
    text=True,
  )


def extras():
  """Returns the names of the extras in setup.py."""
  calls = [
    node
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
    if isinstance(node, ast.keyword) and node.arg == "extras_require"
  ]
  return {key.value for key in calls[0].value.keys}


def test_hadolint():
  hadolint = pathlib.Path(sys.executable).with_name("hadolint")
  done = subprocess.run(
    [hadolint, "--no-color", DOCKERFILE], capture_output=True, text=True
  )
  assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_each_accelerator_installs_its_extra(platform, steps, tmp_path):
  done = requirement(steps, platform, tmp_path)
  assert (done.returncode, done.stdout) == (0, f".[{platform}]\n")
  assert platform in extras()


def test_cpu_is_the_default_and_installs_no_extra(steps, tmp_path):
  assert ("ARG", "PLATFORM=cpu") in steps
  done = requirement(steps, "cpu", tmp_path)
  assert (done.returncode, done.stdout) == (0, ".\n")


def test_an_unknown_platform_is_an_error(steps, tmp_path):
  done = requirement(steps, "gpu", tmp_path)
  assert (done.returncode, done.stdout) == (2, "")
  assert "cpu, tpu or cuda, not gpu" in done.stderr


def test_the_copied_files_are_enough_to_install(steps, tmp_path):
  before = copied(steps[: installing(steps)[0]])
  for source in before:
    (tmp_path / source).parent.mkdir(exist_ok=True)
    copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
    copy(ROOT / source, tmp_path / source)
  done = subprocess.run(
    [sys.executable, "setup.py", "--quiet", "build_py"],
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  # Otherwise any edit would reinstall all dependencies.
  assert "mlm_jax" not in before and "mlm_jax" in copied(steps)


def test_dockerignore_sends_only_copied_files(steps):
  first, *lines = [
    line
    for line in (ROOT / ".dockerignore").read_text().splitlines()
    if line and not line.startswith("#")
  ]
  assert first == "*"
  sent = {line[1:] for line in lines if line.startswith("!")}
  assert sent == {source.split("/")[0] for source in copied(steps)}


def test_the_container_runs_mlm_jax_without_root(steps):
  names = dict(steps)
  assert names["ENTRYPOINT"] == '["python", "-m", "mlm_jax"]'
  user = names["USER"]
  made = next(rest for name, rest in steps if "useradd" in rest)
  assert f"--uid {user} " in made and user != "0"
