"""Collectives read from HLO text, written by hand and by XLA."""

import collections
import math

import jax
import pytest

from mlm_jax.data.corruption import batch_contract
from mlm_jax.tools import hlo
from mlm_jax.training import partitioning

PROGRAM = """HloModule step

%body.1 (p: f32[4]) -> f32[4] {
  %gather = bf16[8,4]{1,0} all-gather(%p), replica_groups=[2,4]<=[8]
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %sum = (f32[10]{0}, bf16[6]{0}) all-reduce(%a, %b), \
replica_groups=mesh['x'=4,'y'=2] {'x'}
  %some = (f32[2]{0}, f32[8]{0}) all-gather-start(%c), \
replica_groups={{0,1,2,3},{4,5,6,7}}
  %loop = f32[4] while(%p), condition=%c, body=%body.1, \
backend_config={"known_trip_count":{"n":"12"}}
  %swap = f32[5]{0} collective-permute(%d), source_target_pairs={{0,1}}
}
"""


def test_collectives_with_counts_and_bytes():
  by_kind = {c["kind"]: c for c in hlo.collectives(PROGRAM)}
  # A ring sends (n - 1) / n of a gathered array, and twice that of a sum.
  sent = round(2 * 52 * 3 / 4)
  assert by_kind["all-reduce"] == {
    "kind": "all-reduce",
    "count": 1,
    "bytes": sent,
  }
  assert by_kind["all-gather"]["count"] == 13
  assert by_kind["all-gather"]["bytes"] == 12 * 64 * 3 / 4 + 32 * 3 / 4
  assert by_kind["collective-permute"]["bytes"] == 20


def test_loops_and_pairwise_arrays():
  assert hlo.has_loops(PROGRAM) and not hlo.has_loops("ENTRY %main {\n}")
  assert hlo.has_pairwise_array(
    "  %x = f32[2,64,12,64]{3,2,1,0} add(%a, %b)", 64
  )
  assert not hlo.has_pairwise_array(
    "  %x = f32[2,64,12,32]{3,2,1,0} add(%a, %b)", 64
  )


def programs(make_config, make_run, **overrides):
  """Returns the HLO of a training and an evaluation step, and param shapes."""
  overrides["train.batch_size"] = 16
  config = make_config(**overrides)
  run = make_run(config, 8)
  batch = batch_contract(config).spec()
  params, step = run.abstract_state.params, run._eval_step
  with partitioning.on(run.mesh):
    forward = step.lower(params, batch).compile()
  shapes = [x.shape for x in jax.tree.leaves(params)]
  return run.compile_train_step(batch)[1].as_text(), forward.as_text(), shapes


def count(text, kind):
  return sum(c["count"] for c in hlo.collectives(text) if c["kind"] == kind)


def test_data_parallel_steps_only_all_reduce(make_config, make_run):
  mesh = {"mesh.data": 8}
  train, forward, shapes = programs(make_config, make_run, **mesh)
  (kind,) = {c["kind"] for c in hlo.collectives(train)}
  assert kind == "all-reduce" and count(train, kind) <= 3
  assert count(forward, kind) == 1
  # The gradients (the tied table's once for each use) and a few sums.
  sent = hlo.collectives(train)[0]["bytes"]
  sizes = [*map(math.prod, shapes), 384 * 32]
  gradients = 2 * 7 / 8 * 4 * sum(sizes)
  assert abs(sent - gradients) < 1_000


def test_fsdp_gathers_no_parameter_twice_in_a_forward(make_config, make_run):
  mesh = {"mesh.data": 1, "mesh.fsdp": 8}
  train, forward, shapes = programs(make_config, make_run, **mesh)
  # Ids that look up a sharded table are gathered too; they are no parameter.
  # Sizes are compared, not shapes: a kernel may be gathered after a reshape.
  expected = collections.Counter(map(math.prod, shapes))
  for text in (forward, train):
    gathered = collections.Counter(map(math.prod, hlo.all_gather_shapes(text)))
    assert set(gathered) & set(expected)
    for size in set(gathered) & set(expected):
      assert gathered[size] <= expected[size], size


@pytest.mark.slow
@pytest.mark.parametrize("layers", [2, 3])
def test_tensor_parallel_layers_all_reduce_twice(layers, make_config, make_run):
  sums = []
  for num_layers in (1, layers):
    overrides = {"mesh.data": 2, "mesh.tensor": 4}
    overrides["model.num_layers"] = num_layers
    _, forward, _ = programs(make_config, make_run, **overrides)
    assert not count(forward, "all-gather")
    sums.append(count(forward, "all-reduce"))
  # Once after attention, once after the MLP (Shoeybi et al. 2019).
  assert sums[1] - sums[0] == 2 * (layers - 1)
