"""Every number of processes is fed the same global batches, bit for bit."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

from mlm_jax.cli.main import main
from mlm_jax.data import pipeline, prepare
from mlm_jax.data.host_tensorflow import iterate
from mlm_jax.data.stream import Stream
from mlm_jax.workdir import Workdir
from tests.conftest import xla_flags

WORKER = """
import sys
import jax
import numpy as np
jax.distributed.initialize("localhost:{port}", {count}, int(sys.argv[1]))
from mlm_jax.data import pipeline, prepare
from mlm_jax.data.host_tensorflow import iterate
from mlm_jax.data.stream import Stream
from mlm_jax.training.run import Run
from mlm_jax.workdir import Workdir
import importlib.util
spec = importlib.util.spec_from_file_location("recipe", "{recipe}")
recipe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recipe)
from mlm_jax import config as config_lib
config = config_lib.build(recipe.get_config())
tokenizer, stores = prepare.load(config, Workdir.at("{workdir}"))
stream = Stream(config, stores.sources)
run = Run.on(config, tokenizer.vocabulary)
assert jax.process_count() == {count}
batches = iterate(pipeline.train_batches(
  config, stream, run.vocab, first_step=30, local_rows=run.local_rows
))
seen = {{}}
for step in range(3):
  for name, array in run.to_device(next(batches)).items():
    for shard in array.addressable_shards:
      rows = shard.index[0].indices(config.train.batch_size)
      seen[f"{{step}} {{name}} {{rows[0]:03}}"] = np.asarray(shard.data)
np.savez("{out}/" + sys.argv[1], **seen)
"""


def batches_of_two(recipe, workdir, out, port):
  """Returns global batches put together of what two processes read."""
  code = WORKER.format(
    port=port, count=2, recipe=recipe, workdir=workdir, out=out
  )
  environment = os.environ | {
    "XLA_FLAGS": xla_flags(devices=1),
    "PYTHONPATH": os.getcwd(),
  }
  processes = [
    subprocess.Popen([sys.executable, "-c", code, str(i)], env=environment)
    for i in range(2)
  ]
  assert [p.wait(timeout=240) for p in processes] == [0, 0]
  shards = {}
  for i in range(2):
    with np.load(out / f"{i}.npz") as saved:
      shards.update({key: saved[key] for key in saved})
  whole = {}
  for key in sorted(shards):
    whole.setdefault(key.rpartition(" ")[0], []).append(shards[key])
  return {key: np.concatenate(parts) for key, parts in whole.items()}


@pytest.mark.slow
def test_two_processes_read_the_batches_of_one(recipe, free_port, tmp_path):
  workdir = tmp_path / "workdir"
  assert main(["prepare", f"--config={recipe}", f"--workdir={workdir}"]) == 0
  config = Workdir.at(workdir).load_config()
  tokenizer, stores = prepare.load(config, Workdir.at(workdir))
  stream = Stream(config, stores.sources)
  batches = iterate(
    pipeline.train_batches(config, stream, tokenizer.vocabulary, first_step=30)
  )
  one = {
    f"{step} {name}": array
    for step, batch in enumerate(itertools.islice(batches, 3))
    for name, array in batch.items()
  }
  two = batches_of_two(recipe, workdir, tmp_path, free_port())
  assert one.keys() == two.keys() and len(one) == 3 * 4
  for key in one:
    np.testing.assert_array_equal(one[key], two[key])
  assert not np.array_equal(one["0 input_ids"], one["1 input_ids"])
