"""The gates, of the real training step as compiled for TPUs that are not there.

`make test-tpu-compile` runs them; each takes from half a minute to two.
"""

import dataclasses
import functools
import importlib.util

import pytest

from mlm_jax import recipe
from mlm_jax.tools import compile_report

pytestmark = [
  pytest.mark.tpu_compile,
  pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs libtpu"
  ),
]

# Tests of the same programs, for one process, which compiles each of them once.
BERT_BASE = pytest.mark.xdist_group("bert_base")
BERT_LARGE = pytest.mark.xdist_group("bert_large")


@functools.cache
def report(name, topology, rows, *overrides):
  overrides = [f"--config.{override}" for override in overrides]
  config = recipe.load(recipe.read(f"configs/{name}.py"), overrides)
  return compile_report.ask(
    dataclasses.asdict(config), topology, per_device_batch=rows
  )


@pytest.mark.parametrize(
  "topology, rows, most",
  [
    pytest.param("v5e:1x1", 32, 4.0e6, marks=BERT_BASE),
    ("v6e:1x1", 64, 3.3e6),
  ],
)
def test_bert_base_computes_and_moves_no_more_than_it_must(
  topology, rows, most
):
  found = report("bert_base", topology, rows)
  assert found["compiled_flops"] / found["model_flops"] <= 1.05
  assert found["bytes_per_token"] <= most
  assert not found["collectives"]


@BERT_LARGE
def test_bert_large_fits_one_v5e():
  found = report("bert_large", "v5e:1x1", 16)
  assert found["hbm_used"] <= 11


def test_modernbert_has_no_array_of_all_pairs_at_8192():
  found = report(
    *("modernbert_base", "v5e:1x1", 2),
    *("data.seq_len=8192", "model.max_positions=8192"),
  )
  assert found["fits"] and not found["pair_arrays"]


def test_a_data_parallel_step_adds_up_five_times_at_most():
  found = report("bert_base", "v5e:16x16", 32)
  (sums,) = found["collectives"]
  assert sums["kind"] == "all-reduce" and sums["count"] <= 5


@BERT_LARGE
def test_256_chips_cost_bert_large_under_five_points():
  one, many = (
    report("bert_large", topology, 16)["utilisation_outside"]
    for topology in ("v5e:1x1", "v5e:16x16")
  )
  assert abs(one - many) < 0.05
  assert one > 0.4


@BERT_BASE
def test_splash_attention_is_what_tpus_get():
  found = report("bert_base", "v5e:1x1", 32)
  assert found["kernel_flops"] > 0 and not found["pair_arrays"]


def test_what_does_not_fit_says_what_would():
  overrides = ["model.num_layers=2", "train.batch_size=768"]
  config = recipe.load(
    recipe.read("configs/bert_base.py"), [f"--config.{o}" for o in overrides]
  )
  said = []
  found = compile_report.ask(
    dataclasses.asdict(config), "v5e:1x1", remedies=True, say=said.append
  )
  assert [line.partition(":")[0] for line in said[1:]] == [
    "tried model.remat='dots'",
    "tried model.remat='full'",
    "tried train.microbatches=2",
  ]
  assert not found["fits"] and "asked for" in found["why"]
  remedies = dict(found["remedies"])
  assert remedies["model.remat='full'"]["fits"]
  assert all(other["fits"] for other in remedies.values())
