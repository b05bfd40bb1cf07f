"""Running averages of the weights, and averages of checkpoints."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlm_jax import api, phases, recipes
from mlm_jax.cli.main import main
from mlm_jax.errors import InputError
from mlm_jax.training import averaging
from mlm_jax.workdir import Workdir
from tests.conftest import records
from tests.training.conftest import (
  StopAt,
  assert_resumes_exactly,
  final_state,
)


def assert_trees_equal(found, expected, **tolerance):
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, **tolerance), found, expected
  )


def test_an_average_follows_the_weights(make_config, make_run, make_batch):
  """Slower from step to step, until its decay rate is reached."""
  config = make_config(**{"optim.ema_decay": 0.5})
  run = make_run(config, 8)
  state, expected = run.init_state(), None
  assert_trees_equal(state.averages, state.params, rtol=0)
  expected = jax.device_get(state.params)
  for step in range(12):
    state, _ = run.train_step(state, run.to_device(make_batch(config, step)))
    decay = min(0.5, (1 + step) / (10 + step))
    expected = jax.tree.map(
      lambda old, new, d=decay: d * old + (1 - d) * np.asarray(new),
      expected,
      state.params,
    )
    assert_trees_equal(state.averages, expected, rtol=1e-5, atol=1e-7)
  table = lambda tree: tree["encoder"]["token_embedding"]
  sharding = table(state.params).sharding
  assert table(state.averages).sharding.is_equivalent_to(sharding, 2)


@pytest.fixture(scope="module")
def averaged(base, tmp_path_factory):
  """A run that keeps an average."""
  workdir = tmp_path_factory.mktemp("averaged")
  keys = {"optim.ema_decay": 0.9, "train.eval_every": 2}
  recipe = recipes.override(phases.Recipe(base), keys)
  assert api.pretrain(recipe, workdir)
  return recipe, workdir


@pytest.mark.slow
def test_an_average_is_resumed_evaluated_and_restored(averaged, tmp_path):
  recipe, workdir = averaged
  assert_resumes_exactly(recipe, 3, tmp_path / "stopped", workdir)
  found = api.restore(workdir, "last:ema").params
  assert_trees_equal(found, final_state(recipe, workdir).averages, rtol=0)
  with pytest.raises(AssertionError):
    assert_trees_equal(found, api.restore(workdir).params, rtol=0)
  last = [r for r in records(workdir) if r["split"] == "heldout_ema"][-1]
  assert last["step"] == 6
  loss = api.evaluate(workdir, "6:ema").loss
  assert loss == pytest.approx(last["loss"], rel=1e-6)
  api.export_hf(workdir, tmp_path / "out", "best:ema")


@pytest.mark.slow
def test_a_run_without_an_average_has_none_to_restore(base, tmp_path, capsys):
  assert api.pretrain(phases.Recipe(base), tmp_path)
  command = ["evaluate", f"--workdir={tmp_path}"]
  assert main([*command, "--checkpoint=last:ema"]) == 2
  assert "optim.ema_decay" in capsys.readouterr().err
  assert main([*command, "--checkpoint=last:emma"]) == 2
  assert "'ema'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("step", [6, 7])
def test_a_phase_may_begin_an_average_and_another_optimizer(
  step, base, tmp_path
):
  new = {"train.steps": 3, "optim.warmup_steps": 1, "optim.ema_decay": 0.9}
  new |= {"optim.name": "lion", "optim.peak_lr": 1e-3}
  diffs = {"old": {"train.steps": 6}, "new": new}
  with pytest.raises(InputError, match=r"'lion'.*train\.reset_optimizer"):
    phases.Recipe(base, diffs)
  new["train.reset_optimizer"] = True
  diffs["last"] = {"train.steps": 2, "optim.ema_decay": 0.0}
  recipe = phases.Recipe(base, diffs)
  # The third phase goes on with the optimizer of the second.
  assert not recipe.phases[2].config.train.reset_optimizer
  whole = tmp_path / "whole"
  assert api.pretrain(recipe, whole)
  splits = {(r["phase"], r["split"]) for r in records(whole)}
  assert ("new", "heldout_ema") in splits
  assert ("last", "heldout_ema") not in splits
  assert_resumes_exactly(recipe, step, tmp_path / "stopped", whole)


@pytest.mark.slow
def test_an_average_does_not_begin_in_mid_phase(base, tmp_path):
  recipe = phases.Recipe(base)
  assert not api.pretrain(recipe, tmp_path, hooks=[StopAt(3)])
  with pytest.raises(InputError, match=r"optim\.ema_decay"):
    api.pretrain(recipes.override(recipe, {"optim.ema_decay": 0.9}), tmp_path)
  assert api.pretrain(recipe, tmp_path)


def test_ties_keeps_large_differences_of_the_sign_of_their_sum():
  """The example of the formula, number by number."""
  base = {"a": jnp.array([1.0, 1.0, 1.0, 1.0])}
  differences = [[4.0, 1.0, -2.0, 0.0], [2.0, -3.0, 5.0, 0.0]]
  models = [{"a": base["a"] + jnp.array(d)} for d in differences]
  # Half of four: [4, 0, -2, 0] and [0, -3, 5, 0]; signs +, -, +.
  merged = averaging.ties(models, base, 0.5)["a"]
  np.testing.assert_array_equal(merged, [5.0, -2.0, 6.0, 1.0])
  # All: [4, 1, -2, 0] and [2, -3, 5, 0].
  merged = averaging.ties(models, base, 1.0)["a"]
  np.testing.assert_array_equal(merged, [4.0, -2.0, 6.0, 1.0])


@pytest.mark.slow
def test_an_average_of_checkpoints_is_a_model_like_any_other(
  averaged, base, tmp_path, capsys
):
  _, workdir = averaged
  average = tmp_path / "average"
  command = ["average_checkpoints", f"--workdir={average}"]
  sources = [f"{workdir}:best2", str(workdir), f"{workdir}:2"]
  assert main([*command, *(f"--from={source}" for source in sources)]) == 0
  losses = {
    r["step"]: r["loss"] for r in records(workdir) if r["split"] == "heldout"
  }
  del losses[0]  # It was not saved.
  steps = {*sorted(losses, key=losses.get)[:2], 6, 2}
  said = capsys.readouterr().out
  assert all(f"{workdir.name}:{step}" in said for step in steps)
  # An average knows what positions were trained.
  assert api.restore(average).max_tokens == api.restore(workdir).max_tokens
  trees = [api.restore(workdir, str(step)).params for step in sorted(steps)]
  mean = jax.tree.map(lambda *x: np.mean(np.stack(x), 0), *trees)
  assert_trees_equal(api.restore(average).params, mean, rtol=1e-6, atol=1e-7)
  assert np.isfinite(api.evaluate(average).loss)
  api.export_hf(average, tmp_path / "exported")
  card = (tmp_path / "exported" / "README.md").read_text()
  assert f"the average of {workdir.name}:" in card
  assert str(tmp_path) not in card
  # And it can be trained further, by another recipe.
  recipe = recipes.override(phases.Recipe(base), {"train.steps": 4})
  assert api.pretrain(recipe, average)
  assert Workdir.at(average).last_step == 4


@pytest.mark.slow
def test_ties_merges_runs_of_one_base(averaged, tmp_path):
  _, workdir = averaged
  sources = [f"{workdir}:4", f"{workdir}:6"]
  api.average_checkpoints(
    sources, tmp_path / "w", method="ties", base=f"{workdir}:2", density=0.5
  )
  trees = [api.restore(workdir, step).params for step in ("4", "6", "2")]
  expected = averaging.ties(trees[:2], trees[2], 0.5)
  assert_trees_equal(api.restore(tmp_path / "w").params, expected, rtol=0)


@pytest.mark.slow
def test_invalid_averages_raise_input_error(averaged, base, tmp_path, capsys):
  _, workdir = averaged
  other = tmp_path / "other"
  model = dataclasses.replace(base.model, width=64)
  wider = phases.Recipe(dataclasses.replace(base, model=model))
  assert api.pretrain(recipes.override(wider, {"train.steps": 3}), other)

  def line_of(*arguments):
    command = ["average_checkpoints", f"--workdir={tmp_path / 'new'}"]
    assert main([*command, *arguments]) == 2
    assert not (tmp_path / "new").exists()
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line

  assert "one checkpoint" in line_of(f"--from={workdir}:6", f"--from={workdir}")
  line = line_of(f"--from={workdir}", f"--from={other}")
  assert "model.width=64" in line and "32" in line
  line = line_of(f"--from={workdir}:best9", f"--from={workdir}")
  assert "best9" in line and "train.keep_best" in line
  assert "'5'" in line_of(f"--from={workdir}:5", f"--from={workdir}")
  assert "no work directory" in line_of(f"--from={tmp_path}/x")
  two = [f"--from={workdir}:2", f"--from={workdir}:4"]
  assert "--base" in line_of(*two, "--method=ties")
  assert "--base" in line_of(*two, f"--base={workdir}")
  several = ["--method=ties", f"--base={workdir}:best2"]
  assert "one checkpoint" in line_of(*two, *several)
  density = ["--method=ties", f"--base={workdir}", "--density=0"]
  assert "--density" in line_of(*two, *density)
