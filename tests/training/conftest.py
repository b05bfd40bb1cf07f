"""A tiny run of a single phase, and how to stop one."""

import jax
import numpy as np
import pytest

from mlm_jax import api
from mlm_jax import config as config_lib
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.training.hooks import Hook
from mlm_jax.training.run import Run
from mlm_jax.workdir import Workdir
from tests.conftest import records


@pytest.fixture(scope="session")
def base(tmp_path_factory, corpus):
  """A tiny run, whose rows are shared by all tests."""
  values = config_lib.default()
  values.model.update(num_layers=1, width=32, num_heads=2, mlp_width=64)
  values.data.update(corpus=f"text:{corpus}", vocab_size=600, seq_len=32)
  values.data.update(heldout_fraction=0.1)
  values.data.rows_dir = str(tmp_path_factory.mktemp("rows"))
  values.optim.update(warmup_steps=2, peak_lr=1e-2)
  values.train.update(steps=6, batch_size=16, log_every=2, eval_every=3)
  values.train.update(eval_batches=1, checkpoint_every=2, keep_last=20)
  return config_lib.build(values)


class StopAt(Hook):
  """Stops as Ctrl-C does."""

  def __init__(self, step):
    self.step = step

  def is_due(self, moment):
    return moment.is_new and moment.step == self.step

  def run(self, moment):
    moment.stop = True


def final_state(recipe, workdir):
  workdir = Workdir.at(workdir)
  tokenizer = api.restore(workdir.root).tokenizer
  run = Run.on(recipe.phases[-1].config, tokenizer.vocabulary)
  with Checkpoints(workdir) as checkpoints:
    return checkpoints.restore(run.abstract_state, run.init_state)


def assert_resumes_exactly(recipe, step, workdir, uninterrupted):
  """Stops a run at a step, continues it, and compares it with another."""
  assert not api.pretrain(recipe, workdir, hooks=[StopAt(step)])
  assert api.pretrain(recipe, workdir)
  assert records(workdir) == records(uninterrupted)
  jax.tree.map(
    np.testing.assert_array_equal,
    final_state(recipe, workdir),
    final_state(recipe, uninterrupted),
  )
