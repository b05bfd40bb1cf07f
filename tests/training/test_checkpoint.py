"""What is saved comes back bit for bit; what is broken is set aside."""

import pathlib

import jax
import numpy as np
import pytest

from mlm_jax.errors import InputError
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.workdir import Workdir


@pytest.fixture
def run(make_config, make_run):
  return make_run(make_config(**{"model.num_layers": 1}))


@pytest.fixture
def workdir(tmp_path):
  return Workdir.at(tmp_path)


def save(run, workdir, losses, **keep):
  """Saves a state at each of steps 1, 2, ...; returns the last."""
  train = run.config.train
  train = type(train)(**{**vars(train), **keep})
  state = run.init_state()
  with Checkpoints(workdir, train) as checkpoints:
    for step, loss in enumerate(losses, 1):
      state = state.replace(step=state.step * 0 + step)
      checkpoints.save(state, loss and {"loss": loss})
  return state


def kept(workdir):
  return sorted(
    int(p.name) for p in workdir.checkpoints.iterdir() if p.name.isdigit()
  )


def test_checkpoint_restores_state_bit_for_bit(run, workdir):
  saved = save(run, workdir, [None])
  with Checkpoints(workdir) as checkpoints:
    restored = checkpoints.restore(run.abstract_state, run.init_state)
  jax.tree.map(np.testing.assert_array_equal, saved, restored)
  assert jax.tree.structure(saved) == jax.tree.structure(restored)
  assert all(
    x.sharding.is_equivalent_to(like.sharding, x.ndim)
    for x, like in zip(
      jax.tree.leaves(restored),
      jax.tree.leaves(run.abstract_state),
      strict=True,
    )
  )


def test_checkpoint_restores_on_another_mesh(
  run, workdir, make_config, make_run
):
  saved = save(run, workdir, [None])
  mesh = {"mesh.fsdp": 4, "mesh.tensor": 2}
  other = make_run(make_config(**{"model.num_layers": 1}, **mesh), 8)
  with Checkpoints(workdir) as checkpoints:
    restored = checkpoints.restore(other.abstract_state, other.init_state)
  jax.tree.map(np.testing.assert_array_equal, saved, restored)
  table = restored.params["encoder"]["token_embedding"]
  assert len(table.sharding.device_set) == 8


def test_checkpoints_keep_the_last_and_the_best(run, workdir):
  save(run, workdir, [3.0, 1.0, 2.0, 2.5, None, 2.7], keep_last=2, keep_best=1)
  assert kept(workdir) == [2, 5, 6]
  # The next process knows it too.
  with Checkpoints(workdir, run.config.train) as checkpoints:
    state = checkpoints.restore(run.abstract_state, run.init_state)
    for step in (7, 8, 9):
      checkpoints.save(state.replace(step=state.step * 0 + step), None)
  assert kept(workdir) == [2, 8, 9]


def test_restore_without_a_checkpoint_returns_none(run, workdir):
  with Checkpoints(workdir, run.config.train) as checkpoints:
    assert checkpoints.restore(run.abstract_state, run.init_state) is None
  with (
    Checkpoints(workdir) as checkpoints,
    pytest.raises(InputError, match="no checkpoint"),
  ):
    checkpoints.restore_params(run.abstract_state.params)


def damage(workdir, step, how):
  folder = pathlib.Path(workdir.checkpoints / str(step) / "params")
  files = [path for path in folder.rglob("*") if path.is_file()]
  largest = max(files, key=lambda path: path.stat().st_size)
  data = bytearray(largest.read_bytes())
  if how == "truncated":
    data = data[: len(data) // 2]
  elif how == "flipped":
    data[len(data) // 2] ^= 0xFF
  largest.write_bytes(bytes(data)) if how != "missing" else largest.unlink()


@pytest.mark.parametrize("how", ["truncated", "flipped", "missing"])
def test_damaged_checkpoint_is_set_aside_for_the_one_before(run, workdir, how):
  save(run, workdir, [None, None])
  damage(workdir, 2, how)
  said = []
  with Checkpoints(workdir, run.config.train, said.append) as checkpoints:
    restored = checkpoints.restore(run.abstract_state, run.init_state)
    assert int(restored.step) == 1
    # The step can be reached and saved again.
    checkpoints.save(restored.replace(step=restored.step + 1), None)
  assert kept(workdir) == [1, 2]
  assert (workdir.root / "broken_checkpoints" / "2").exists()
  assert "Checkpoint 2 cannot be read" in said[0]
  assert all("\n" not in line for line in said)


def test_no_checkpoint_is_moved_if_none_can_be_read(run, workdir):
  save(run, workdir, [None, None])
  for step in (1, 2):
    damage(workdir, step, "missing")
  with (
    Checkpoints(workdir, run.config.train, lambda line: None) as checkpoints,
    pytest.raises(InputError, match="can be read"),
  ):
    checkpoints.restore(run.abstract_state, run.init_state)
  assert kept(workdir) == [1, 2]


def test_inference_skips_a_damaged_checkpoint_without_moving_it(run, workdir):
  save(run, workdir, [None, None])
  damage(workdir, 2, "missing")
  with Checkpoints(workdir, say=lambda line: None) as checkpoints:
    params, _ = checkpoints.restore_params(run.abstract_state.params)
  jax.tree.map(np.testing.assert_array_equal, params, run.init_state().params)
  assert kept(workdir) == [1, 2]


def test_what_a_killed_process_was_writing_is_removed_at_once(run, workdir):
  """Not in the background, while a second one opens the same folder."""
  save(run, workdir, [None])
  for number in range(50):
    folder = workdir.checkpoints / "2.orbax-checkpoint-tmp" / str(number)
    folder.mkdir(parents=True)
    (folder / "part").write_text("")
  with Checkpoints(workdir, run.config.train):
    names = [path.name for path in workdir.checkpoints.iterdir()]
    assert names == ["1"]
  save(run, workdir, [None, None])
  assert kept(workdir) == [1, 2]
