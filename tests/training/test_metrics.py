"""What a run writes down, and what a run that continues replaces."""

import json

import numpy as np
import pytest

from mlm_jax.data.host_tensorflow import tf
from mlm_jax.training import hardware
from mlm_jax.training.metrics import MetricsWriter, read_records
from mlm_jax.workdir import Workdir


@pytest.fixture
def workdir(tmp_path):
  workdir = Workdir.at(tmp_path)
  for last_step, losses in [(-1, {5: 4.0, 10: 3.0}), (5, {10: 2.5})]:
    writer = MetricsWriter(workdir, last_step)
    for step, loss in losses.items():
      values = {"loss": loss, "corruption": "none", "mfu": None}
      writer.write(step, "train", "pretrain", values)
    writer.close()
  return workdir


def test_a_record_after_the_restored_step_is_replaced(workdir):
  found = [(r["step"], r["loss"]) for r in read_records(workdir)]
  assert found == [(5, 4.0), (10, 2.5)]


def test_tensorboard_reads_scalars_and_where_each_process_begins(workdir):
  files = sorted(workdir.tensorboard.iterdir())
  events = [list(tf.compat.v1.train.summary_iterator(str(f))) for f in files]
  assert all(first.file_version == "brain.Event:2" for first, *_ in events)
  started = tf.compat.v1.SessionLog.START
  assert [(e[1].session_log.status, e[1].step) for e in events] == [
    (started, 0),
    (started, 6),
  ]
  scalars = [
    (event.step, {v.tag: v.simple_value for v in event.summary.value})
    for file in events
    for event in file[2:]
  ]
  assert scalars == [
    (5, {"train/loss": 4.0}),
    (10, {"train/loss": 3.0}),
    (10, {"train/loss": 2.5}),
  ]


def test_what_is_not_finite_is_null_in_metrics(tmp_path):
  workdir = Workdir.at(tmp_path)
  writer = MetricsWriter(workdir, -1)
  values = {"loss": np.nan, "grad_norm": np.inf, "accuracy": 0.5, "mfu": None}
  writer.write(3, "train", "pretrain", values)
  writer.close()

  def refuse(constant):
    raise AssertionError(constant)

  (record,) = workdir.metrics.read_text().splitlines()
  record = json.loads(record, parse_constant=refuse)
  assert record["loss"] is None and record["grad_norm"] is None
  assert record["accuracy"] == 0.5 and "mfu" not in record


@pytest.mark.parametrize(
  ("rate", "peak", "expected"),
  [(50.0, 100.0, 0.5), (2100.0, 100.0, None), (None, 100.0, None)]
  + [(50.0, None, None)],
)
def test_a_utilisation_over_one_is_not_said(rate, peak, expected):
  assert hardware.utilisation(rate, peak) == expected
