"""The attention backend that "auto" chooses."""

import itertools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType

from mlm_jax.models.attention import choose, why_unsupported
from tests.models.attention_cases import attend_zeros, shapes

LONG = {"length": 8192, "batch": 4}
PREFIX = {"causal": True, "prefix_BM": 1}
REQUESTS = [
  {},
  {"causal": True},
  PREFIX,
  {"slopes_H": 1},
  {"bias_HLM": 1},
  {"key_segment_ids_BM": jnp.ones([1, 512], jnp.int32)},
]


@pytest.mark.parametrize("platform", ["cpu", "gpu", "older gpu", "tpu"])
def test_auto_supports_every_request(platform, trace_for):
  trace_for(platform)
  for requested, window, length, dtype in itertools.product(
    REQUESTS, (0, 128, 256), (128, 129, 512, 8192), ("float32", "bfloat16")
  ):
    wanted = shapes(length=length, dtype=dtype, window=window, **requested)
    impl = choose(*wanted)
    assert not why_unsupported(impl, *wanted), (impl, requested)


@pytest.mark.parametrize(
  ("platform", "wanted"),
  [
    ("tpu", {}),
    ("tpu", {"causal": True, "window": 128}),
    ("gpu", {}),
    ("gpu", LONG),
    ("gpu", PREFIX),
    ("older gpu", {}),
  ],
)
def test_auto_uses_the_platforms_kernel(platform, wanted, trace_for):
  trace_for(platform)
  kernels = {"tpu": "splash", "gpu": "cudnn", "older gpu": "cudnn"}
  assert choose(*shapes(**wanted)) == kernels[platform]


@pytest.mark.parametrize(
  ("platform", "wanted", "without"),
  [
    ("cpu", {}, "dense"),
    ("gpu", {}, "cudnn"),
    ("tpu", {"slopes_H": 1}, "dense"),
  ],
)
def test_auto_uses_local_if_its_blocks_skip_keys(
  platform, wanted, without, trace_for
):
  trace_for(platform)
  chosen = lambda window: choose(*shapes(window=window, **wanted))
  assert chosen(128) == "local"
  # A block of queries would have all 512 keys.
  assert chosen(256) == without


@pytest.mark.parametrize(
  ("platform", "wanted"),
  [
    ("cpu", {}),
    ("tpu", {"length": 128}),
    ("tpu", {"slopes_H": 1}),
    ("gpu", {"dtype": "float32"}),
  ],
)
def test_auto_is_dense_for_short_rows_without_a_kernel(
  platform, wanted, trace_for
):
  trace_for(platform)
  assert choose(*shapes(**wanted)) == "dense"


@pytest.mark.parametrize(
  ("platform", "wanted"),
  [("cpu", {}), ("tpu", {"bias_HLM": 1}), ("gpu", PREFIX), ("older gpu", {})],
)
def test_auto_is_chunked_if_scores_take_too_much_memory(
  platform, wanted, trace_for
):
  trace_for(platform)
  assert choose(*shapes(**LONG, **wanted)) == "chunked"


def test_auto_counts_the_scores_of_one_device():
  with jax.set_mesh(jax.make_mesh((8,), ("data",), (AxisType.Auto,))):
    assert choose(*shapes(**LONG)) == "dense"


@pytest.mark.parametrize("wanted", [{}, {"window": 128}])
def test_auto_runs_the_backend_that_it_chooses(wanted):
  traced = lambda impl: str(
    jax.make_jaxpr(lambda: attend_zeros(impl, **wanted))()
  )
  assert traced("auto") == traced(choose(*shapes(**wanted)))
