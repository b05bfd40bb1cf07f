"""Eight fake devices, and a small run that tests share."""

import gc
import json
import os
import pathlib
import socket
import subprocess
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
# Programs this small take longer to optimise than to run.
os.environ["XLA_FLAGS"] = (
  "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
  "--xla_llvm_disable_expensive_passes=true "
  "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false"
)
# Many tests and the commands that they start compile the same programs.
# `pytest --cache-clear` empties the folder.
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR",
  str(pathlib.Path(__file__).parents[1] / ".pytest_cache/d/xla"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import jax
import numpy as np
import pytest

from mlm_jax import config as config_lib
from mlm_jax import families, registry
from mlm_jax.data.corruption import batch_contract
from mlm_jax.training.run import Run
from mlm_jax.vocabulary import Vocabulary

# Traced programs are a million objects: to look through them as often as Python
# does by default takes a fifth of the time.
gc.set_threshold(200_000, 20, 100)

ROOT = pathlib.Path(__file__).parents[1]


def xla_flags(devices):
  """Returns this process's XLA_FLAGS for another number of fake devices."""
  flag = "--xla_force_host_platform_device_count"
  return os.environ["XLA_FLAGS"].replace(f"{flag}=8", f"{flag}={devices}")


def records(workdir):
  """Returns the records of a run, without what a clock says."""
  clock = ("tokens_per_second", "data_wait", "mfu")
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [
    {k: v for k, v in json.loads(line).items() if k not in clock}
    for line in lines
  ]


@pytest.fixture(scope="session")
def vocab():
  return Vocabulary(
    size=300,
    pad_id=0,
    unk_id=1,
    start_id=2,
    end_id=3,
    mask_id=4,
    starts_word=np.arange(300) % 3 == 0,
    stops=(np.arange(300) % 7 == 1).astype(np.int8),
  )


@pytest.fixture(scope="session")
def make_config():
  """Returns a function of overrides, such as **{"train.steps": 3}."""

  def make(**overrides):
    config = config_lib.default()
    config.model.update(num_layers=2, width=32, num_heads=4, mlp_width=64)
    config.model.update(families.NO_DROPOUT)
    config.data.update(vocab_size=300, seq_len=32)
    config.optim.update(warmup_steps=2, peak_lr=1e-2)
    config.train.update(steps=50, batch_size=8)
    # As a recipe's phases have them, keys of sources may be among them.
    values = config_lib.flat(config_lib.build(config)) | overrides
    return config_lib.build(config_lib.nest(values))

  return make


@pytest.fixture(scope="session")
def make_run(vocab):
  """Returns a function of a configuration and a number of devices."""

  def make(config, devices=1):
    return Run.on(config, vocab, jax.local_devices()[:devices])

  return make


@pytest.fixture(scope="session")
def make_batch(vocab):
  """Returns a function that makes a batch of packed rows, unequally masked.

  Rows have other numbers of targets: their losses must not be averaged.
  """

  def make(config, seed=0):
    return batch_contract(config).random(vocab, seed)

  return make


@pytest.fixture
def forget():
  """Returns a function that ends what recipe files have registered."""

  def forget():
    for table in registry.TABLES:
      for name in list(table):
        if path := table.registered_by(name):
          table.forget(path)

  yield forget
  forget()


@pytest.fixture(scope="session", autouse=True)
def on_one_device():
  """Trains on one device: eight on two cores take twice the time."""
  devices = jax.devices()[:1]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "devices", lambda: devices)
    yield


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
  """Frees what the tests of a file have compiled."""
  yield
  jax.clear_caches()


@pytest.fixture
def on_eight_devices(monkeypatch):
  """Trains on all fake devices."""
  monkeypatch.setattr(jax, "devices", jax.local_devices)


@pytest.fixture
def free_port():
  """Returns a function that finds a port where nobody listens."""

  def find():
    with socket.socket() as server:
      server.bind(("localhost", 0))
      return server.getsockname()[1]

  return find


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
from mlm_jax.data.corruption import batch_contract


def get_config():
  config = config_lib.default()
  config.model.update(
    num_layers=1, width=32, num_heads=2, mlp_width=64
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


@pytest.fixture(scope="session")
def trained(recipe, tmp_path_factory):
  """The work directory of 60 steps on eight devices; not to be changed."""
  from mlm_jax.cli.main import main

  workdir = tmp_path_factory.mktemp("trained")
  arguments = [f"--config={recipe}", f"--workdir={workdir}"]
  short = ["--config.train.steps=60", "--config.train.checkpoint_every=30"]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, "devices", jax.local_devices)  # All eight.
    assert main(["prepare", *arguments, *short]) == 0
    assert main(["train", *arguments, *short]) == 0
  return workdir


@pytest.fixture
def start(recipe):
  """Returns a function that starts the train command in a work directory."""

  def start(workdir, *arguments, devices=1, config=recipe):
    if config:  # Else the work directory's own.
      arguments = (f"--config={config}", *arguments)
    environment = os.environ | {
      "XLA_FLAGS": xla_flags(devices),
      "PYTHONPATH": str(ROOT),
    }
    return subprocess.Popen(
      [
        sys.executable,
        "-m",
        "mlm_jax",
        "train",
        f"--workdir={workdir}",
        *arguments,
      ],
      cwd=ROOT,
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )

  return start
