"""A small corpus, and a way to train on it in processes of their own."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
  from pydoc_data import topics

  path = tmp_path_factory.mktemp("corpus") / "topics.txt"
  path.write_text("\n\n".join(sorted(topics.topics.values())))
  return path


@pytest.fixture(scope="session")
def recipe(tmp_path_factory, corpus):
  """The arguments of a tiny run; its rows are prepared once, and shared."""
  rows = tmp_path_factory.mktemp("rows")
  path = rows / "recipe.py"
  path.write_text(f"""
from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()
  config.model.update(
    num_layers=1, width=32, num_heads=2, mlp_width=64, dropout_rate=0.1
  )
  config.data.update(
    corpus="text:{corpus}", vocab_size=600, seq_len=32, heldout_fraction=0.1,
    rows_dir="{rows}",
  )
  config.optim.update(warmup_steps=10, peak_lr=1e-2)
  config.train.update(
    steps=200, batch_size=8, log_every=7, eval_every=50, eval_batches=2,
    checkpoint_every=20,
  )
  return config
""")
  return path


@pytest.fixture
def start(recipe):
  """Returns a function that starts the train command in a work directory."""

  def start(workdir, *arguments, devices=1):
    environment = os.environ | {
      "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
      "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
      [
        *(sys.executable, "-m", "mlm_jax", "train"),
        *(f"--config={recipe}", f"--workdir={workdir}", *arguments),
      ],
      cwd=ROOT,
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )

  return start
