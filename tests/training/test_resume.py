"""A run that was stopped is the run that was not."""

import json
import re
import signal
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from mlm_jax.cli.main import main
from tests.conftest import records

pytestmark = pytest.mark.slow


def final_arrays(workdir):
  with ocp.CheckpointManager(workdir / "checkpoints") as manager:
    arguments = ocp.args.Composite(
      params=ocp.args.StandardRestore(), rest=ocp.args.StandardRestore()
    )
    return dict(manager.restore(200, args=arguments).items())


@pytest.fixture(scope="module")
def uninterrupted(recipe, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("uninterrupted")
  assert main(["train", f"--config={recipe}", f"--workdir={workdir}"]) == 0
  return workdir


def wait_for_step(workdir, process, step):
  """Returns once metrics.jsonl has a record of `step` or later."""
  deadline = time.monotonic() + 200
  while time.monotonic() < deadline:
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    if lines and json.loads(lines[-1])["step"] >= step:
      return
    assert process.poll() is None, process.communicate()[0]
    time.sleep(0.01)
  raise AssertionError("the run does not get anywhere")


@pytest.mark.parametrize(
  ("number", "step"),
  # The first is killed before there is a checkpoint.
  [(signal.SIGKILL, 7), (signal.SIGKILL, 77), (signal.SIGTERM, 77)],
)
def test_resume_equals_an_uninterrupted_run(
  number, step, start, recipe, uninterrupted, tmp_path
):
  process = start(tmp_path)
  wait_for_step(tmp_path, process, step)
  process.send_signal(number)
  output, _ = process.communicate(timeout=60)
  assert not (tmp_path / "checkpoints" / "200").exists()
  if number == signal.SIGTERM:
    assert process.returncode == 75  # For launchers: stopped, and not over.
    assert "the same command continues" in output
    backends = re.findall("(?m)^attention on .*", output)
    assert backends == [
      "attention on cpu, 32 tokens, float32, whole documents: dense"
    ]
  assert main(["train", f"--config={recipe}", f"--workdir={tmp_path}"]) == 0
  assert records(tmp_path) == records(uninterrupted)
  jax.tree.map(
    np.testing.assert_array_equal,
    final_arrays(tmp_path),
    final_arrays(uninterrupted),
  )
