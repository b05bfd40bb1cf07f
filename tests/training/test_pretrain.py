"""Several phases run in one go, resume exactly, and continue their streams."""

import dataclasses
import re

import numpy as np
import pytest

from mlm_jax import api, phases, recipes
from mlm_jax.errors import InputError, TrainingError
from mlm_jax.training import pretrain as pretrain_lib
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.training.hooks import Hook
from mlm_jax.training.state import counter_value
from mlm_jax.workdir import Workdir
from tests.conftest import records
from tests.training.conftest import (
  StopAt,
  assert_resumes_exactly,
  final_state,
)

pytestmark = pytest.mark.slow

TWO_PHASES = {
  "short": {"train.steps": 6},
  "long": {
    "train.steps": 5,
    "train.batch_size": 8,
    "data.seq_len": 64,
    "corruption.mask_rate": 0.3,
    "corruption.final_mask_rate": 0.1,
    "optim.peak_lr": 3e-3,
    "optim.warmup_steps": 1,
  },
}


@pytest.fixture(scope="module")
def two_phases(base):
  return phases.Recipe(base, TWO_PHASES)


@pytest.fixture(scope="module")
def uninterrupted(two_phases, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("two_phases")
  assert api.pretrain(two_phases, workdir)
  return workdir


def test_each_phase_follows_its_own_progress(uninterrupted):
  found = records(uninterrupted)
  trained = [r for r in found if r["split"] == "train"]
  names = [(r["step"], r["phase"]) for r in trained]
  # Every second step, and the end of each phase.
  assert names == [
    (2, "short"),
    (4, "short"),
    (6, "short"),
    (8, "long"),
    (10, "long"),
    (11, "long"),
  ]
  rates = [r["learning_rate"] for r in trained]
  # Warm-up of 2 steps to 1e-2, then linear to 0 over 4: steps 1, 3 and 5.
  np.testing.assert_allclose(rates[:3], [5e-3, 7.5e-3, 2.5e-3], rtol=1e-6)
  # Warm-up of 1 step to 3e-3, then linear to 0 over 4: steps 1, 3 and 4.
  np.testing.assert_allclose(rates[3:], [3e-3, 1.5e-3, 7.5e-4], rtol=1e-6)
  heldout = [r["step"] for r in found if r["split"] == "heldout"]
  assert heldout == [0, 3, 6, 9, 11]


@pytest.mark.parametrize("step", [3, 6, 7])
def test_a_stopped_run_resumes_exactly_in_any_phase(
  step, two_phases, uninterrupted, tmp_path
):
  assert_resumes_exactly(two_phases, step, tmp_path, uninterrupted)


@pytest.fixture
def train_in_two(start, free_port):
  """Returns a function that trains a work directory's recipe in two processes.

  It checks their exit codes, and returns what each has printed.
  """

  def train(workdir, exit_code=0):
    port, outputs = free_port(), []
    processes = [
      start(
        workdir,
        f"--coordinator=localhost:{port}",
        "--num_processes=2",
        f"--process_id={index}",
        config=None,
      )
      for index in range(2)
    ]
    for process in processes:
      output, _ = process.communicate(timeout=240)
      assert process.returncode == exit_code, output
      outputs.append(output)
    return outputs

  return train


def test_two_processes_continue_in_any_phase_as_one(
  two_phases, uninterrupted, train_in_two, tmp_path
):
  """Real processes, which go on in the first phase and end in the second."""
  assert not api.pretrain(two_phases, tmp_path, hooks=[StopAt(3)])
  train_in_two(tmp_path)
  one, two = records(uninterrupted), records(tmp_path)
  place = lambda r: (r["step"], r["phase"], r["split"], r["tokens_seen"])
  assert [place(r) for r in one] == [place(r) for r in two]
  # Sums in another order drift apart, but slowly.
  losses = [[r["loss"] for r in run] for run in (one, two)]
  np.testing.assert_allclose(*losses, rtol=1e-4)
  streams = []
  for workdir in (uninterrupted, tmp_path):
    with Checkpoints(Workdir.at(workdir)) as checkpoints:
      streams.append(checkpoints.streams(11))
  assert streams[0] == streams[1]


def test_two_processes_end_a_phase_in_hours_together(
  base, train_in_two, tmp_path
):
  """By the first one's clock; the next phase begins where it ended."""
  hours = {"train.hours": 0.001, "optim.warmup_steps": 0}
  recipe = phases.Recipe(base, {"a": hours, "b": {"train.steps": 4}})
  api.prepare(recipe, tmp_path)
  train_in_two(tmp_path)
  recipe = Workdir.at(tmp_path).load_recipe()
  end = recipe.phases[0].end
  assert end > 0 and end % base.train.log_every == 0
  assert recipe.last_step == Workdir.at(tmp_path).last_step == end + 4
  trained = [r for r in records(tmp_path) if r["split"] == "train"]
  assert [r["step"] for r in trained if r["phase"] == "b"] == [end + 2, end + 4]


def test_two_processes_name_the_worst_rows_of_the_whole_batch(
  base, train_in_two, tmp_path
):
  keys = {
    "train.steps": 80,
    "train.max_skipped": 1,
    "train.eval_every": 80,
    "train.checkpoint_every": 80,
    # As soon as a median is known, every step is a spike.
    "optim.max_spike": 0.01,
  }
  recipe = recipes.override(phases.Recipe(base), keys)
  with pytest.raises(TrainingError) as error:
    api.pretrain(recipe, tmp_path / "one")
  api.prepare(recipe, tmp_path / "two")
  said = [str(error.value), *train_in_two(tmp_path / "two", exit_code=1)]
  # Without losses, whose last digit may differ.
  worst = [re.findall(r"row ([\d,]+), loss \S+: (.*)", text) for text in said]
  assert worst[0] == worst[1] == worst[2] and len(worst[0]) == 3
  skip = [re.findall(r"data.skip_rows=(\S+)", text) for text in said]
  assert skip[0] == skip[1] == skip[2] == ["1024..1040"]


def test_rows_of_another_length_are_a_stream_of_their_own(
  two_phases, uninterrupted
):
  state = final_state(two_phases, uninterrupted)
  assert counter_value(state.rows_seen) == 6 * 16 + 5 * 8
  with Checkpoints(Workdir.at(uninterrupted)) as checkpoints:
    streams = checkpoints.streams(11)
  assert sorted(streams.values()) == [5 * 8, 6 * 16]


def test_a_stream_continues_where_an_earlier_phase_left_it(base, tmp_path):
  """Short, long, short: as many tokens as without the long phase between."""
  long = {"train.steps": 3, "data.seq_len": 64}
  back = {"train.steps": 3, "data.seq_len": 32}
  three = phases.Recipe(base, {"a": {"train.steps": 3}, "b": long, "c": back})
  alone = phases.Recipe(base, {"b": long | {"optim.peak_lr": 1e-3}})
  for name, recipe in (
    ("three", three),
    ("whole", phases.Recipe(base)),
    ("alone", alone),
  ):
    assert api.pretrain(recipe, tmp_path / name)
  seen = lambda name: records(tmp_path / name)[-1]["tokens_seen"]
  assert seen("three") == seen("whole") + seen("alone")


def test_another_corpus_in_mid_run_is_read_from_its_beginning(
  base, corpus, tmp_path
):
  half = tmp_path / "half.txt"
  half.write_text(corpus.read_text()[::2])
  other = dataclasses.replace(
    base, data=dataclasses.replace(base.data, corpus=f"text:{half}")
  )
  recipe = phases.Recipe(base)
  assert not api.pretrain(recipe, tmp_path / "w", hooks=[StopAt(3)])
  assert api.pretrain(phases.Recipe(other), tmp_path / "w")
  with Checkpoints(Workdir.at(tmp_path / "w")) as checkpoints:
    assert sorted(checkpoints.streams(6).values()) == [48, 48]


def test_phases_on_other_meshes_resume_exactly(
  base, on_eight_devices, tmp_path
):
  recipe = phases.Recipe(
    base,
    {"a": {"train.steps": 3}, "b": {"train.steps": 4, "mesh.fsdp": 8}},
  )
  assert api.pretrain(recipe, tmp_path / "whole")
  stopped = tmp_path / "stopped"
  for step in (3, 5):
    assert not api.pretrain(recipe, stopped, hooks=[StopAt(step)])
  assert api.pretrain(recipe, stopped)
  assert records(stopped) == records(tmp_path / "whole")


def evaluator(losses):
  """Returns what makes evaluators that find these losses."""

  def make_evaluator(run, stores, corruption=None):
    # As trained, they decide nothing.
    found = iter(lambda: 0.0, None) if corruption else losses
    return lambda params: {"heldout": {"loss": next(found), "accuracy": 0.0}}

  return make_evaluator


def test_the_best_checkpoint_is_of_the_last_phase_evaluated(base, tmp_path):
  """Losses of two phases do not compare."""
  recipe = phases.Recipe(
    base,
    {"a": {"train.steps": 3}, "b": {"train.steps": 3, "data.seq_len": 64}},
  )
  losses = iter([5.0, 1.0, 4.0, 3.5])

  assert pretrain_lib.pretrain(recipe, Workdir.at(tmp_path), evaluator(losses))
  assert api.restore(tmp_path, "best").step == 6


def test_early_stopping_at_the_end_of_a_phase_ends_the_run(base, tmp_path):
  train = dataclasses.replace(base.train, patience=1, eval_every=3)
  recipe = phases.Recipe(
    dataclasses.replace(base, train=train),
    {"a": {"train.steps": 3}, "b": {"train.steps": 3}},
  )
  losses = iter([1.0, 2.0])

  workdir = Workdir.at(tmp_path)
  for _ in range(2):  # Run again, it remembers.
    assert pretrain_lib.pretrain(recipe, workdir, evaluator(losses))
    assert workdir.last_step == 3


def test_heldout_records_say_how_rows_are_corrupted(uninterrupted):
  for record in records(uninterrupted):
    if record["split"] == "heldout":
      assert "15% of tokens" in record["corruption"]


def test_another_batch_size_skips_and_repeats_no_row(base, tmp_path):
  """As many rows are as many tokens only where they are the same rows."""
  halved = phases.Recipe(
    base,
    {"a": {"train.steps": 3}, "b": {"train.steps": 6, "train.batch_size": 8}},
  )
  whole = phases.Recipe(base)
  for name, recipe in (("halved", halved), ("whole", whole)):
    assert api.pretrain(recipe, tmp_path / name)
  # And where it changes in the middle of a phase.
  changed = tmp_path / "changed"
  assert not api.pretrain(whole, changed, hooks=[StopAt(3)])
  train = dataclasses.replace(base.train, batch_size=8, steps=9)
  smaller = dataclasses.replace(base, train=train)
  assert api.pretrain(phases.Recipe(smaller), changed)
  seen = {
    name: records(tmp_path / name)[-1]["tokens_seen"]
    for name in ("halved", "whole", "changed")
  }
  assert len(set(seen.values())) == 1, seen


def test_a_checkpoint_is_used_with_the_values_of_its_phase(uninterrupted):
  configs = {
    step: api.restore(uninterrupted, str(step)).run.config
    for step in (6, 8, 11)
  }
  assert configs[6].data.seq_len == 32
  assert configs[8].data.seq_len == configs[11].data.seq_len == 64


@pytest.mark.parametrize(
  ("diffs", "parts"),
  [
    (
      {"renamed": {"train.steps": 6}, "long": TWO_PHASES["long"]},
      ["'short'", "'renamed'"],
    ),
    (
      {
        "short": {"train.steps": 4},
        "long": TWO_PHASES["long"] | {"train.steps": 9},
      },
      ["'short'", "train.steps"],
    ),
    (
      {"short": TWO_PHASES["short"], "long": {"train.steps": 3}},
      ["step 11", "train.steps=9"],
    ),
    ({"short": TWO_PHASES["short"]}, ["step 11", "train.steps=6"]),
  ],
)
def test_phases_that_were_trained_do_not_change(
  diffs, parts, base, uninterrupted
):
  before = records(uninterrupted)
  config = (uninterrupted / "config.json").read_bytes()
  with pytest.raises(InputError) as error:
    api.pretrain(phases.Recipe(base, diffs), uninterrupted)
  for part in parts:
    assert part in str(error.value)
  assert records(uninterrupted) == before
  assert (uninterrupted / "config.json").read_bytes() == config


def test_a_hook_records_metrics_and_asks_for_a_checkpoint(base, tmp_path):
  class Norm(Hook):
    def is_due(self, moment):
      return moment.step == 5

    def run(self, moment):
      table = moment.state.params["encoder"]["token_embedding"]
      moment.record("probe", norm=float(np.linalg.norm(table)))
      moment.save = True

  assert api.pretrain(phases.Recipe(base), tmp_path, hooks=[Norm()])
  (found,) = [r for r in records(tmp_path) if r["split"] == "probe"]
  assert found["step"] == 5 and found["norm"] > 0
  saved = {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
  assert saved == {2, 4, 5, 6}


def test_a_state_of_another_format_is_refused_by_name(base, tmp_path):
  recipe = phases.Recipe(base)
  assert not api.pretrain(recipe, tmp_path, hooks=[StopAt(3)])
  for path in (tmp_path / "checkpoints").glob("*/format"):
    for file in path.iterdir():
      file.unlink()
    path.rmdir()
  with pytest.raises(InputError, match=r"format 1.*export_hf"):
    api.pretrain(recipe, tmp_path)
  assert api.restore(tmp_path).step == 3
