"""Gates for the real training step, compiled for TPUs without hardware.

`make test-tpu-compile` runs them; each takes half a minute to two minutes.
"""

import dataclasses
import functools
import importlib.util

import pytest

from mlm_jax import recipes
from mlm_jax.cli.overrides import parse
from mlm_jax.tools import compile_subprocess

pytestmark = [
  pytest.mark.tpu_compile,
  pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs libtpu"
  ),
]

# Tests of the same programs, for one process, which compiles each of them once.
BERT_BASE = pytest.mark.xdist_group("bert_base")
BERT_LARGE = pytest.mark.xdist_group("bert_large")


@pytest.fixture(autouse=True)
def without_cpu_flags(monkeypatch):
  """libtpu ends a process that has a flag it does not know."""
  monkeypatch.delenv("XLA_FLAGS")


def configured(name, *overrides):
  keys = parse([f"--config.{override}" for override in overrides])
  return recipes.load(name, keys).base


@functools.cache
def report(name, topology, rows, *overrides):
  return compile_subprocess.check(
    dataclasses.asdict(configured(name, *overrides)),
    topology,
    per_device_batch=rows,
  )


@pytest.mark.parametrize(
  "topology, rows, most",
  [
    pytest.param("v5e:1x1", 32, 4.0e6, marks=BERT_BASE),
    ("v6e:1x1", 64, 3.3e6),
  ],
)
def test_bert_base_flops_and_hbm_traffic(topology, rows, most):
  found = report("bert_base", topology, rows)
  assert found["compiled_flops"] / found["model_flops"] <= 1.05
  assert found["bytes_per_token"] <= most
  assert not found["collectives"]


@BERT_LARGE
def test_bert_large_fits_one_v5e():
  found = report("bert_large", "v5e:1x1", 16)
  assert found["hbm_used"] <= 11


def test_modernbert_at_8192_has_no_pairwise_array():
  found = report("modernbert_base:single", "v5e:1x1", 2, "data.seq_len=8192")
  assert found["fits"] and not found["pair_arrays"]


def test_a_data_parallel_step_has_at_most_five_all_reduces():
  found = report("bert_base", "v5e:16x16", 32)
  (sums,) = found["collectives"]
  assert sums["kind"] == "all-reduce" and sums["count"] <= 5


@BERT_LARGE
def test_bert_large_on_256_chips_loses_under_5_points_of_utilisation():
  one, many = (
    report("bert_large", topology, 16)["utilisation_outside"]
    for topology in ("v5e:1x1", "v5e:16x16")
  )
  assert abs(one - many) < 0.05
  assert one > 0.4


@BERT_BASE
def test_tpus_get_splash_attention():
  found = report("bert_base", "v5e:1x1", 32)
  assert found["kernel_flops"] > 0 and not found["pair_arrays"]


def test_remedies_for_a_step_that_does_not_fit():
  config = configured("bert_base", "model.num_layers=2", "train.batch_size=768")
  said = []
  found = compile_subprocess.check(
    dataclasses.asdict(config), "v5e:1x1", remedies=True, say=said.append
  )
  assert [line.partition(":")[0] for line in said[1:]] == [
    "tried model.remat='dots'",
    "tried model.remat='full'",
    "tried train.microbatches=2",
  ]
  assert not found["fits"] and "needs" in found["why"]
  remedies = dict(found["remedies"])
  assert remedies["model.remat='full'"]["fits"]
  assert all(other["fits"] for other in remedies.values())
