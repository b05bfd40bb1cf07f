"""No update that is not finite is applied, and a run of them ends clearly."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlm_jax import api, phases, registry
from mlm_jax import config as config_lib
from mlm_jax.cli.main import main
from mlm_jax.data import tokenizers
from mlm_jax.errors import InputError, TrainingError
from mlm_jax.objectives.mlm import MaskedLanguageModelling
from mlm_jax.training import guard
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.workdir import Workdir
from tests.conftest import records

POISON = "ζ"


class Poisoned(MaskedLanguageModelling):
  """A masked LM whose loss is infinite where a row holds one of some ids."""

  ids: tuple[int, ...] = ()

  def loss_sums(self, params, batch, key=None):
    sums = super().loss_sums(params, batch, key)
    seen = jnp.concatenate([batch["input_ids"], batch["target_ids"]], axis=1)
    is_bad = jnp.isin(seen, jnp.array(self.ids)).any()
    # Infinity times zero: the gradient is NaN, too.
    loss = sums["mlm"]["loss"] * jnp.where(is_bad, jnp.inf, 1)
    return {"mlm": sums["mlm"] | {"loss": loss}}


@pytest.fixture(scope="module")
def base(tmp_path_factory, corpus):
  """A tiny run on a corpus with a few bad documents."""
  folder = tmp_path_factory.mktemp("poisoned")
  bad = [f"{word} {POISON * 12} in it." for word in ("A", "The", "No")]
  text = "\n\n".join([corpus.read_text()[:60_000], *bad])
  (folder / "corpus.txt").write_text(text)
  values = config_lib.default()
  values.model.update(num_layers=1, width=32, num_heads=2, mlp_width=64)
  values.data.update(corpus=f"text:{folder}/corpus.txt", vocab_size=600)
  values.data.update(
    seq_len=32, heldout_fraction=0.1, rows_dir=f"{folder}/rows"
  )
  values.optim.update(warmup_steps=2, peak_lr=1e-2)
  values.train.update(steps=80, batch_size=8, log_every=10, eval_every=40)
  values.train.update(eval_batches=1, checkpoint_every=10, keep_last=20)
  return config_lib.build(values)


@pytest.fixture
def poisoned(base, corpus, monkeypatch, tmp_path):
  """The same with an objective that is not finite on that document."""
  monkeypatch.setitem(registry.OBJECTIVES._entries, "poisoned", Poisoned)
  api.prepare(phases.Recipe(base), tmp_path / "prepared")
  tokenizer = tokenizers.load(Workdir.at(tmp_path / "prepared").tokenizer)
  (poison,) = tokenizer.encode([POISON])
  (others,) = tokenizer.encode([corpus.read_text()[:60_000]])
  ids = set(poison) - set(others)
  monkeypatch.setattr(Poisoned, "ids", tuple(ids))
  objective = dataclasses.replace(base.objective, name="poisoned")
  return dataclasses.replace(base, objective=objective)


def all_finite(workdir):
  params = api.restore(workdir).params
  return all(np.isfinite(x).all() for x in jax.tree.leaves(params))


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 8])
def test_a_step_that_is_not_finite_is_skipped(
  devices, poisoned, monkeypatch, tmp_path
):
  monkeypatch.setattr(jax, "devices", lambda: jax.local_devices()[:devices])
  workdir = tmp_path / "run"
  assert api.pretrain(phases.Recipe(poisoned), workdir)
  trained = [r for r in records(workdir) if r["split"] == "train"]
  skipped = [r["skipped_steps"] for r in trained]
  assert 0 < skipped[-1] < 10
  assert all(r["loss"] < 10 for r in trained)
  assert all_finite(workdir)


@pytest.mark.slow
def test_skipped_steps_in_a_row_end_the_run_and_name_the_row(
  poisoned, tmp_path, capsys
):
  """The rows that are named can be left out, and the run goes on."""
  train = dataclasses.replace(poisoned.train, max_skipped=1)
  poisoned = dataclasses.replace(poisoned, train=train)
  workdir = tmp_path / "run"
  with pytest.raises(TrainingError) as error:
    api.pretrain(phases.Recipe(poisoned), workdir)
  said = str(error.value)
  (worst,) = re.findall(r"row ([\d,]+), loss inf: (.*)", said)
  assert POISON in worst[1]
  assert "last step applied" in said and "largest gradient norms" in said
  assert all_finite(workdir)
  # The same command says it again, with exit code 1.
  assert main(["train", f"--workdir={workdir}"]) == 1
  assert f"row {worst[0]}, loss inf" in capsys.readouterr().err
  (skip,) = re.findall(r"--config.data.skip_rows=\S+", said)
  first, end = map(int, re.findall(r"\d+", skip))
  row, last = int(worst[0].replace(",", "")), Workdir.at(workdir).last_step
  assert last * 8 <= first <= row < end
  # It trains past them, until another bad row.
  assert main(["train", f"--workdir={workdir}", skip]) == 1
  (longer,) = re.findall(rf"{skip},(\d+)\.\.", capsys.readouterr().err)
  assert int(longer) >= end


@pytest.mark.slow
def test_a_last_step_that_is_skipped_is_not_a_finished_run(poisoned, tmp_path):
  """Also without held-out rows, whose evaluation waits for the device."""
  data = dataclasses.replace(poisoned.data, heldout_fraction=0.0)
  train = dataclasses.replace(poisoned.train, max_skipped=1)
  config = dataclasses.replace(poisoned, data=data, train=train)
  with pytest.raises(TrainingError) as error:
    api.pretrain(phases.Recipe(config), tmp_path / "whole")
  (step,) = re.findall(r"the last of them step (\d+)", str(error.value))
  short = dataclasses.replace(train, steps=int(step))
  config = dataclasses.replace(config, train=short)
  with pytest.raises(TrainingError, match=f"the last of them step {step}:"):
    api.pretrain(phases.Recipe(config), tmp_path / "short")


@pytest.mark.slow
def test_rows_left_out_are_read_by_no_step(base, tmp_path):
  """And a run that goes on leaves out the same, and may leave out more."""
  data = dataclasses.replace(base.data, skip_rows="16..40,100..101")
  optim = dataclasses.replace(base.optim, schedule="constant")
  base = dataclasses.replace(base, data=data, optim=optim)
  assert api.pretrain(phases.Recipe(base), tmp_path / "run")
  with Checkpoints(Workdir.at(tmp_path / "run")) as checkpoints:
    assert list(checkpoints.streams(80).values()) == [80 * 8]
  moved = dataclasses.replace(data, skip_rows="16..41,100..101")
  train = dataclasses.replace(base.train, steps=90)
  changed = dataclasses.replace(base, data=moved, train=train)
  with pytest.raises(InputError, match=r"skip_rows.*row 664"):
    api.pretrain(phases.Recipe(changed), tmp_path / "run")
  later = dataclasses.replace(data, skip_rows=f"{data.skip_rows},665..700")
  changed = dataclasses.replace(base, data=later, train=train)
  assert api.pretrain(phases.Recipe(changed), tmp_path / "run")


def test_a_run_without_targets_says_so(base, tmp_path, monkeypatch):
  class Nothing(MaskedLanguageModelling):
    def denominators(self, batch):
      return {"mlm": jnp.zeros([])}

  monkeypatch.setitem(registry.OBJECTIVES._entries, "nothing", Nothing)
  objective = dataclasses.replace(base.objective, name="nothing")
  base = dataclasses.replace(base, objective=objective)
  with pytest.raises(InputError, match="nothing of the held-out rows"):
    api.pretrain(phases.Recipe(base), tmp_path / "evaluated")
  data = dataclasses.replace(base.data, heldout_fraction=0.0)
  base = dataclasses.replace(base, data=data)
  with pytest.raises(TrainingError, match="nothing was predicted"):
    api.pretrain(phases.Recipe(base), tmp_path / "not")


def test_spikes_are_measured_by_the_median_of_applied_steps():
  state = guard.init_guard()
  judge = lambda state, norm: guard.judge(state, 1.0, norm, 3.0)
  for norm in [100.0, *[1.0] * 62]:  # Too few to call one a spike.
    is_good, state = judge(state, norm)
    assert is_good
  assert judge(state, 50.0)[0]
  _, state = judge(state, 1.0)
  is_good, after = judge(state, 3.1)
  assert not is_good
  np.testing.assert_array_equal(after.norms_N, state.norms_N)
  assert after.skipped_steps == after.skipped_in_a_row == 1
  assert judge(after, 2.9)[0]
  for bad in (np.nan, np.inf):
    assert not judge(state, bad)[0]
    assert not guard.judge(state, bad, 1.0, 0.0)[0]


def test_a_skipped_step_changes_neither_weights_nor_optimizer(
  make_config, make_run, make_batch
):
  config = make_config(**{"optim.max_spike": 2.0})
  run, batch = make_run(config, 8), make_batch(config)
  norms_N = jnp.full([guard.NUM_NORMS], 1e-9)
  state = run.init_state()
  state = state.replace(guard=state.guard._replace(norms_N=norms_N))
  before = jax.device_get((state.params, state.opt_state))
  state, metrics = run.train_step(state, run.to_device(batch))
  jax.tree.map(
    np.testing.assert_array_equal,
    jax.device_get((state.params, state.opt_state)),
    before,
  )
  assert metrics["skipped_in_a_row"] == 1 and state.step == 1
  assert metrics["num_predictions"] == 0


@pytest.mark.parametrize(
  ("keys", "expected"),
  [
    ({"clip_norm": 0.5}, 0.5),
    ({"clip_norm": 50.0}, 20.0),
    ({"clip_norm": 0.0}, 20.0),
    ({"clip_norm": 0.0, "clip_to_median": 3.0}, 6.0),
    ({"clip_norm": 5.0, "clip_to_median": 3.0}, 5.0),
    ({"clip_norm": 5.0, "clip_to_median": 2.0}, 4.0),
    ({"clip_norm": 0.0, "clip_to_median": 11.0}, 20.0),
  ],
)
def test_gradients_are_clipped_to_the_smaller_limit(keys, expected):
  norms_N = jnp.full([guard.NUM_NORMS], jnp.nan).at[:65].set(2.0)
  state = guard.init_guard()._replace(norms_N=norms_N)
  grads = {"a": jnp.full([5, 4], 20 / 20**0.5)}
  optim = config_lib.OptimConfig(**keys)
  norm = jnp.linalg.norm(grads["a"])
  clipped = guard.clip(grads, norm, state, optim)
  np.testing.assert_allclose(jnp.linalg.norm(clipped["a"]), expected, rtol=1e-6)
  zeros = {"a": jnp.zeros([2])}
  np.testing.assert_array_equal(
    guard.clip(zeros, jnp.zeros([]), state, optim)["a"], 0
  )


def test_few_norms_clip_to_no_median():
  state = guard.init_guard()
  state = state._replace(norms_N=state.norms_N.at[:63].set(2.0))
  optim = config_lib.OptimConfig(clip_norm=0.0, clip_to_median=2.0)
  grads = {"a": jnp.full([1], 20.0)}
  assert guard.clip(grads, jnp.array(20.0), state, optim)["a"] == 20
