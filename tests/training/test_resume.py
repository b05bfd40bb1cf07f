"""A run that was stopped is the run that was not."""

import json
import signal
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from tests.conftest import finish, records

pytestmark = pytest.mark.slow


def final_arrays(workdir):
  with ocp.CheckpointManager(workdir / "checkpoints") as manager:
    arguments = ocp.args.Composite(
      params=ocp.args.StandardRestore(), rest=ocp.args.StandardRestore()
    )
    return dict(manager.restore(200, args=arguments).items())


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
  return tmp_path_factory.mktemp("uninterrupted")


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
  number, step, start, uninterrupted, tmp_path
):
  if not (uninterrupted / "metrics.jsonl").exists():
    finish(start(uninterrupted))
  process = start(tmp_path)
  wait_for_step(tmp_path, process, step)
  process.send_signal(number)
  output, _ = process.communicate(timeout=60)
  assert not (tmp_path / "checkpoints" / "200").exists()
  if number == signal.SIGTERM:
    assert process.returncode == 75  # For launchers: stopped, and not over.
    assert "the same command continues" in output
  finish(start(tmp_path))
  assert records(tmp_path) == records(uninterrupted)
  jax.tree.map(
    np.testing.assert_array_equal,
    final_arrays(tmp_path),
    final_arrays(uninterrupted),
  )


def test_two_processes_train_as_one(start, start_two, uninterrupted, tmp_path):
  """Real processes. Sums in another order drift apart, but slowly."""
  if not (uninterrupted / "metrics.jsonl").exists():
    finish(start(uninterrupted))
  for process in start_two(tmp_path):
    finish(process)
  one, two = records(uninterrupted), records(tmp_path)
  assert [(r["step"], r["split"]) for r in one] == [
    (r["step"], r["split"]) for r in two
  ]
  assert [r["tokens_seen"] for r in one] == [r["tokens_seen"] for r in two]
  losses = [[r["loss"] for r in run if r["step"] <= 50] for run in (one, two)]
  assert len(losses[0]) == 9
  np.testing.assert_allclose(*losses, rtol=1e-3)
