"""A run that stops, is changed, or goes on past its end."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from mlm_jax import api, phases, recipes, registry
from mlm_jax.errors import InputError
from mlm_jax.models.composite import MaskedLM
from mlm_jax.objectives.mlm import MaskedLanguageModelling
from mlm_jax.workdir import Workdir
from tests.conftest import records
from tests.training.conftest import (
  StopAt,
  assert_resumes_exactly,
  final_state,
)

pytestmark = pytest.mark.slow

LONG = {
  "train.steps": 4,
  "data.seq_len": 64,
  "optim.peak_lr": 3e-3,
  "optim.warmup_steps": 1,
}


@pytest.fixture(scope="module")
def two_phases(base):
  return phases.Recipe(base, {"short": {"train.steps": 6}, "long": LONG})


@pytest.fixture(scope="module")
def finished(base, tmp_path_factory):
  """A run whose learning rate has decayed."""
  workdir = tmp_path_factory.mktemp("finished")
  assert api.pretrain(phases.Recipe(base), workdir)
  return workdir


def test_a_run_stops_after_a_phase_and_goes_on(two_phases, tmp_path):
  stopped, whole = tmp_path / "stopped", tmp_path / "whole"
  for _ in range(2):  # Asked for again, it is already there.
    assert api.pretrain(two_phases, stopped, stop_after_phase="short")
    assert Workdir.at(stopped).last_step == 6
  assert api.pretrain(two_phases, stopped)
  assert api.pretrain(two_phases, whole)
  assert records(stopped) == records(whole)


def test_a_phase_to_stop_after_must_exist(two_phases, tmp_path):
  with pytest.raises(InputError, match=r"stop_after_phase.*shrt.*'short'"):
    api.pretrain(two_phases, tmp_path / "w", stop_after_phase="shrt")
  assert not (tmp_path / "w").exists()


def test_more_steps_after_the_decay_are_refused(base, finished):
  before = records(finished)
  more = recipes.override(phases.Recipe(base), {"train.steps": 60})
  with pytest.raises(InputError, match=r"learning rate.*append a phase"):
    api.pretrain(more, finished)
  assert records(finished) == before
  assert Workdir.at(finished).load_config().num_steps == 6


def test_more_steps_at_a_constant_rate_continue(base, tmp_path):
  recipe = phases.Recipe(base)
  constant = {"optim.schedule": "constant"}
  assert api.pretrain(recipes.override(recipe, constant), tmp_path)
  more = recipes.override(recipe, constant | {"train.steps": 8})
  assert api.pretrain(more, tmp_path)
  rates = [r["learning_rate"] for r in records(tmp_path) if "grad_norm" in r]
  np.testing.assert_allclose(rates, [5e-3, 1e-2, 1e-2, 1e-2])


def test_an_appended_phase_continues_a_finished_run(base, finished, tmp_path):
  recipe = phases.Recipe(base)
  appended = phases.Recipe(
    base, {phases.ONLY_PHASE: {"train.steps": 6}, "more": LONG}
  )
  assert api.pretrain(recipe, tmp_path)
  assert api.pretrain(appended, tmp_path)
  found = records(tmp_path)
  before = records(finished)
  assert found[: len(before)] == before
  (change,) = [r for r in found if r["split"] == "config"]
  assert (change["step"], change["phases.more.train.steps"]) == (6, 4)
  last = found[-1]
  assert (last["step"], last["phase"]) == (10, "more")
  assert last["loss"] < before[-1]["loss"]


def test_another_learning_rate_in_mid_run_is_recorded(base, tmp_path):
  recipe = phases.Recipe(base)
  assert not api.pretrain(recipe, tmp_path, hooks=[StopAt(4)])
  change = {"optim.peak_lr": 1e-3, "optim.schedule": "constant"}
  assert api.pretrain(recipes.override(recipe, change), tmp_path)
  found = records(tmp_path)
  rates = {r["step"]: r["learning_rate"] for r in found if "grad_norm" in r}
  np.testing.assert_allclose(list(rates.values()), [5e-3, 7.5e-3, 1e-3])
  (record,) = [r for r in found if r["split"] == "config"]
  assert record == {"step": 4, "phase": "pretrain", "split": "config", **change}
  assert Workdir.at(tmp_path).history() == [
    {
      "step": 4,
      "changed": {
        "optim.peak_lr": [1e-2, 1e-3],
        "optim.schedule": ["linear", "constant"],
      },
    }
  ]
  # What was changed before training is no change of the run.
  config = json.loads((tmp_path / "config.json").read_text())
  assert config["optim"]["peak_lr"] == 1e-3
  assert Workdir.at(tmp_path).load_recipe().base.optim.peak_lr == 1e-3


def test_the_batch_size_of_tokens_in_part_trained_is_fixed(base, tmp_path):
  recipe = recipes.override(
    phases.Recipe(base), {"train.tokens": 6 * 16 * 32, "optim.warmup_steps": 2}
  )
  assert not api.pretrain(recipe, tmp_path, hooks=[StopAt(3)])
  with pytest.raises(InputError, match=r"3 steps old.*train\.steps"):
    api.pretrain(recipes.override(recipe, {"train.batch_size": 8}), tmp_path)
  assert api.pretrain(recipe, tmp_path)
  assert Workdir.at(tmp_path).last_step == 6


@pytest.mark.parametrize("name", ["adafactor", "muon"])
def test_states_that_are_not_shaped_as_weights_resume_exactly(
  name, base, tmp_path
):
  recipe = recipes.override(phases.Recipe(base), {"optim.name": name})
  whole = tmp_path / "whole"
  assert api.pretrain(recipe, whole)
  assert_resumes_exactly(recipe, 3, tmp_path / "stopped", whole)


CAUSAL = {"objective.name": "causal_lm", "corruption.kind": "next_token"}
MASKED = {"objective.name": "mlm", "corruption.kind": "token_masking"}


@pytest.mark.parametrize("step", [4, 6])
def test_phases_of_two_objectives_resume_exactly(step, base, tmp_path):
  """A decoder that becomes an encoder."""
  recipe = phases.Recipe(
    base,
    {
      "decoder": {"train.steps": 4, **CAUSAL},
      "encoder": {"train.steps": 4, "train.reset_optimizer": True, **MASKED},
    },
  )
  whole = tmp_path / "whole"
  assert api.pretrain(recipe, whole)
  assert_resumes_exactly(recipe, step, tmp_path / "stopped", whole)
  assert not api.restore(whole, "4").run.objective.supports
  model = api.restore(whole)
  assert api.fill_mask(model, "A [MASK] of it.")
  assert np.isfinite(api.evaluate(whole).loss)
  # The first step of the second phase is that of new moments.
  moments = model_moments(recipe, whole)
  assert moments == {4}


def model_moments(recipe, workdir):
  """Returns the numbers of updates that an optimizer's state has seen."""
  leaves = jax.tree.leaves_with_path(final_state(recipe, workdir).opt_state)
  return {int(x) for path, x in leaves if str(path[-1]) == ".count"}


def test_objectives_of_other_weights_do_not_follow_each_other(base, tmp_path):
  with pytest.raises(InputError, match=r"objective\.name.*'mlm'.*'rtd'"):
    phases.Recipe(
      base,
      {
        "a": {"train.steps": 4},
        "b": {"train.steps": 4} | {"objective.name": "rtd"},
      },
    )

  @registry.OBJECTIVES.register("two_heads")
  class TwoHeads(MaskedLanguageModelling):
    @property
    def model(self):
      config = dataclasses.replace(self.config.model, num_layers=2)
      return MaskedLM(config, self.vocab.size)

  try:
    diffs = {"a": {"train.steps": 4}, "b": {"train.steps": 4}}
    diffs["b"]["objective.name"] = "two_heads"
    with pytest.raises(InputError, match=r"'b' has other weights.*'a'"):
      api.pretrain(phases.Recipe(base, diffs), tmp_path)
  finally:
    registry.OBJECTIVES.forget("this program")
