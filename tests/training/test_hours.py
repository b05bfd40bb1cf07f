"""A phase whose length is in hours: its schedule follows the clock."""

import functools
import json
import shutil

import numpy as np
import pytest

from mlm_jax import api, config, phases, recipes
from mlm_jax.errors import InputError
from mlm_jax.training import hooks, schedules
from mlm_jax.training import pretrain as pretrain_lib
from mlm_jax.workdir import Workdir
from tests.conftest import records
from tests.training.conftest import StopAt

HOURS = {"train.hours": 0.5, "optim.warmup_hours": 0.1}


@pytest.fixture
def hours(base):
  return recipes.override(phases.Recipe(base), HOURS)


@pytest.fixture
def clock(monkeypatch):
  """A clock that moves by 0.05 hours whenever it is read."""
  time = {"now": 1e6, "step": 180.0}

  def now():
    time["now"] += time["step"]
    return time["now"]

  monkeypatch.setattr(
    pretrain_lib, "Clock", functools.partial(hooks.Clock, now=now)
  )
  return time


def test_the_schedule_of_hours_is_a_function_of_hours(hours):
  rate = schedules.of_phase(hours.base)
  peak = hours.base.optim.peak_lr
  for passed, share in ((0.05, 0.5), (0.1, 1), (0.3, 0.5), (0.5, 0)):
    assert float(rate(passed)) == pytest.approx(share * peak, abs=1e-7)


@pytest.mark.slow
def test_a_run_ends_with_its_hours(hours, clock, tmp_path):
  """Read every second step: ten times 0.05 hours are twenty steps."""
  whole, stopped = tmp_path / "whole", tmp_path / "stopped"
  assert api.pretrain(hours, whole)
  found = [r for r in records(whole) if r["split"] == "train"]
  assert [r["step"] for r in found] == [*range(2, 21, 2)]
  passed = [r["hours"] for r in found]
  # The hours at the beginning of the last step.
  np.testing.assert_allclose(passed, 0.05 * np.arange(10), rtol=1e-5, atol=1e-9)
  rates = [r["learning_rate"] for r in found]
  at = schedules.of_phase(hours.base)
  np.testing.assert_allclose(rates, [float(at(h)) for h in passed], rtol=1e-5)
  assert [r for r in records(whole) if r["split"] == "heldout"][-1][
    "step"
  ] == 20
  # It is over, and stays so.
  assert api.pretrain(hours, whole)
  assert Workdir.at(whole).last_step == 20
  # The time between two commands does not count.
  assert not api.pretrain(hours, stopped, hooks=[StopAt(8)])
  clock["now"] += 1e6
  assert api.pretrain(hours, stopped)
  again = [r for r in records(stopped) if r["split"] == "train"]
  np.testing.assert_allclose(
    [r["learning_rate"] for r in again], rates, rtol=1e-4
  )
  np.testing.assert_allclose(
    [r["loss"] for r in again], [r["loss"] for r in found], rtol=1e-3
  )


@pytest.mark.slow
def test_a_phase_in_hours_goes_on_as_one_in_steps(hours, clock, tmp_path):
  assert api.pretrain(hours, tmp_path)
  with pytest.raises(InputError, match=r"train\.hours=0\.5.*train\.steps=20"):
    api.pretrain(recipes.override(hours, {"train.hours": 0.6}), tmp_path)
  steps = {"train.steps": 20, "optim.warmup_steps": 4}
  more = {"train.steps": 2, "optim.warmup_steps": 1, "optim.peak_lr": 1e-3}
  diffs = {phases.ONLY_PHASE: steps, "more": more}
  assert api.pretrain(phases.Recipe(hours.base, diffs), tmp_path)
  assert records(tmp_path)[-1]["phase"] == "more"


@pytest.mark.slow
def test_a_last_phase_in_hours_begins_at_zero(base, clock, tmp_path):
  diffs = {"a": {"train.steps": 4}, "b": HOURS}
  assert api.pretrain(phases.Recipe(base, diffs), tmp_path)
  assert Workdir.at(tmp_path).last_step == 24


@pytest.mark.slow
def test_a_clock_that_stands_still_is_refused(hours, clock, tmp_path):
  clock["step"] = 0.0
  with pytest.raises(InputError, match=r"train\.hours=0\.5.*clock that moves"):
    api.pretrain(hours, tmp_path)


@pytest.mark.parametrize(
  ("keys", "parts"),
  [
    ({"train.hours": 0.5}, ["optim.warmup_steps=2", "optim.warmup_hours"]),
    ({"optim.warmup_hours": 0.5}, ["optim.warmup_hours=0.5", "train.hours"]),
    (HOURS | {"optim.warmup_hours": 0.6}, ["optim.warmup_hours=0.6"]),
    (HOURS | {"optim.decay_hours": 0.5}, ["optim.decay_hours=0.5"]),
    (HOURS | {"optim.decay_tokens": 500}, ["optim.decay_tokens=500"]),
    (HOURS | {"train.tokens": 900}, ["train.hours", "train.tokens=900"]),
    (HOURS | {"corruption.final_mask_rate": 0.1}, ["final_mask_rate"]),
  ],
)
def test_invalid_hours_raise_input_error(base, keys, parts):
  with pytest.raises(InputError) as error:
    recipes.override(phases.Recipe(base), keys)
  for part in parts:
    assert part in str(error.value)


STEPS = {"train.steps": 4, "optim.warmup_steps": 1}


@pytest.mark.slow
def test_phases_in_hours_may_stand_anywhere(base, clock, tmp_path):
  """Of three phases two are in hours; killed in any, the run goes on."""
  recipe = phases.Recipe(base, {"a": HOURS, "b": STEPS, "c": HOURS})
  assert [phase.is_open for phase in recipe.phases] == [True, False, True]
  for step in (10, 22, 34):
    assert not api.pretrain(recipe, tmp_path, hooks=[StopAt(step)])
    assert Workdir.at(tmp_path).last_step == step
  assert api.pretrain(recipe, tmp_path)
  found = [r for r in records(tmp_path) if r["split"] == "train"]
  names = {r["step"]: r["phase"] for r in found}
  assert names == {n: "abc"[(n > 20) + (n > 24)] for n in range(2, 45, 2)}
  # Each phase's rate begins anew: in its steps, or in its hours.
  rates = {r["step"]: r["learning_rate"] for r in found}
  peak = base.optim.peak_lr
  assert rates[22] == pytest.approx(peak) and rates[26] == 0
  kept = Workdir.at(tmp_path).load_recipe()
  assert [(p.first_step, p.last_step) for p in kept.phases] == [
    (0, 20),
    (20, 24),
    (24, 44),
  ]
  # It is over, and stays so; what has ended cannot change.
  assert api.pretrain(recipe, tmp_path)
  assert Workdir.at(tmp_path).last_step == 44
  longer = {"a": HOURS | {"train.hours": 1.0}, "b": STEPS, "c": HOURS}
  with pytest.raises(InputError, match=r"'a'.*train\.hours=0\.5"):
    api.pretrain(phases.Recipe(base, longer), tmp_path)


@pytest.mark.slow
def test_hours_that_have_ended_are_forgotten_with_their_checkpoints(
  base, clock, tmp_path
):
  """Trained again, the phase ends elsewhere, and the next begins there."""
  recipe = phases.Recipe(base, {"a": HOURS, "b": STEPS})
  assert api.pretrain(recipe, tmp_path)
  assert Workdir.at(tmp_path).load_recipe().ends == {"a": 20}
  shutil.rmtree(tmp_path / "checkpoints")
  clock["step"] *= 2
  assert api.pretrain(recipe, tmp_path)
  assert Workdir.at(tmp_path).load_recipe().ends == {"a": 10}
  assert Workdir.at(tmp_path).last_step == 14
  found = [r for r in records(tmp_path) if r["split"] == "train"]
  assert [r["phase"] for r in found if r["step"] > 10] == ["b", "b"]


@pytest.mark.slow
def test_a_kill_between_two_phases_loses_nothing(base, clock, tmp_path):
  """The end of the hours is in the checkpoint before it is in config.json."""
  recipe = phases.Recipe(base, {"a": HOURS, "b": STEPS})
  assert api.pretrain(recipe, tmp_path, stop_after_phase="a")
  config = json.loads((tmp_path / "config.json").read_text())
  assert config.pop("ends") == {"a": 20}
  (tmp_path / "config.json").write_text(json.dumps(config))
  assert api.pretrain(recipe, tmp_path)
  assert Workdir.at(tmp_path).load_recipe().ends == {"a": 20}
  assert Workdir.at(tmp_path).last_step == 24


def test_lengths_of_another_unit_replace_each_other():
  values = config.flat(config.Config())
  for diff in ({"train.hours": 2.0}, {"train.tokens": 9}, {"train.steps": 3}):
    values = config.merge(values, diff)
    kept = {k: values[f"train.{k}"] for k in ("steps", "tokens", "hours")}
    assert sum(map(bool, kept.values())) == 1
