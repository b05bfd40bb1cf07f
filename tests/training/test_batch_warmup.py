"""A batch that grows reads each row once, on any devices, and resumes."""

import dataclasses

import numpy as np
import pytest

from mlm_jax import api, phases
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.training.state import counter_value
from mlm_jax.workdir import Workdir
from tests.conftest import records
from tests.training.conftest import assert_resumes_exactly, final_state

pytestmark = pytest.mark.slow

# Two steps with 8 rows, two with 16, then four with 24.
NUM_ROWS = 2 * 8 + 2 * 16 + 4 * 24


@pytest.fixture(scope="module")
def growing(base):
  train = dataclasses.replace(
    base.train,
    steps=8,
    batch_size=24,
    initial_batch_size=8,
    batch_warmup_tokens=2 * (8 + 16) * 32,
    microbatches=3,
  )
  return phases.Recipe(dataclasses.replace(base, train=train))


@pytest.fixture(scope="module")
def uninterrupted(growing, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("growing")
  assert api.pretrain(growing, workdir)
  return workdir


def test_rows_are_those_of_a_constant_batch(base, uninterrupted, tmp_path):
  train = dataclasses.replace(base.train, steps=6, batch_size=24)
  constant = phases.Recipe(dataclasses.replace(base, train=train))
  assert constant.base.timeline.num_rows == NUM_ROWS
  assert api.pretrain(constant, tmp_path)
  seen = [records(d)[-1]["tokens_seen"] for d in (uninterrupted, tmp_path)]
  assert seen[0] == seen[1]
  with Checkpoints(Workdir.at(uninterrupted)) as checkpoints:
    assert list(checkpoints.streams(8).values()) == [NUM_ROWS]


@pytest.mark.parametrize("step", [1, 3])
def test_a_stopped_run_resumes_exactly_in_any_size(
  step, growing, uninterrupted, tmp_path
):
  assert_resumes_exactly(growing, step, tmp_path, uninterrupted)
  state = final_state(growing, tmp_path)
  assert counter_value(state.rows_seen) == NUM_ROWS


def test_eight_devices_train_as_one(
  growing, uninterrupted, on_eight_devices, tmp_path
):
  assert api.pretrain(growing, tmp_path)
  one, eight = records(uninterrupted), records(tmp_path)
  assert [r["tokens_seen"] for r in one] == [r["tokens_seen"] for r in eight]
  losses = [[r["loss"] for r in run] for run in (one, eight)]
  np.testing.assert_allclose(*losses, rtol=1e-4)
