import dataclasses
import functools
import math
import sys

import jax
import jax.extend.backend
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from mlm_jax.errors import InputError
from mlm_jax.models import attention as backends
from mlm_jax.models.attention import attention, cudnn, dense, splash, tokamax
from mlm_jax.models.attention.seen import Seen
from mlm_jax.training import partitioning
from tests.models.attention_cases import (
  CASES,
  HEADS,
  WIDTH,
  asks,
  by_hand,
  make,
  packed,
)


@pytest.mark.parametrize("case", CASES)
def test_dense_is_the_definition(case):
  (q, k, v, *bias), kw = made = make(case, length=12)
  bias = {"bias_HLM": bias[0]} if bias else {}
  out = attention(q, k, v, **kw, **bias, impl="dense")
  expected = by_hand(*made)
  sees = ~np.isnan(expected)
  np.testing.assert_allclose(out[sees], expected[sees], atol=1e-5)


def program(impl, case, dtype=jnp.float32):
  """Returns what computes a backend's output, where something is seen, and its
  gradients; and the arguments."""
  arrays, kw = make(case)
  keys = kw.get("key_segment_ids_BM", kw["segment_ids_BL"])
  sees_BL = jnp.any(kw["segment_ids_BL"][:, :, None] == keys[:, None], axis=2)

  def attend(q, k, v, *bias):
    qkv = (x.astype(dtype) for x in (q, k, v))
    bias = {"bias_HLM": bias[0]} if bias else {}
    out = attention(*qkv, **kw, **bias, impl=impl).astype(jnp.float32)
    return jnp.where(sees_BL[..., None, None], out, 0)

  @jax.jit
  def run(cotangent, *arrays):
    out, gradients = jax.vjp(attend, *arrays)
    return out, *gradients(cotangent)

  cotangent = np.random.default_rng(1).standard_normal(arrays[0].shape)
  return run, (jnp.array(cotangent, jnp.float32), *arrays)


def results(*args):
  run, arrays = program(*args)
  return run(*arrays)


@functools.cache
def expected_of(case):
  return results("dense", case)


def assert_is_dense(got, case, **close):
  for one, expected in zip(got, expected_of(case), strict=True):
    np.testing.assert_allclose(one, expected, **close)


@dataclasses.dataclass(frozen=True)
class Gpu:
  """What tokamax asks of a device."""

  compute_capability: str = "9.0"
  device_kind: str = "NVIDIA H100 80GB HBM3"
  platform: str = "gpu"
  core_count: int = 132


@pytest.fixture
def trace_for(monkeypatch):
  """Returns a function that has code traced for "cpu", "tpu", "gpu", which is a
  Hopper one, or "older gpu"."""

  def trace_for(what):
    is_hopper = what == "gpu"
    for module in (backends, splash, cudnn, tokamax):
      monkeypatch.setattr(module, "platform", lambda: what.split()[-1])
    patches = {
      "check_cudnn_version": lambda: 91000,
      "check_compute_capability": lambda _: is_hopper,
      "is_cuda_compute_capability_equal": lambda _: False,
    }
    for name, patch in patches.items():
      monkeypatch.setattr(cudnn.fused, name, patch)
    device = Gpu("9.0" if is_hopper else "8.0")
    monkeypatch.setattr(
      jax.extend.backend, "get_default_device", lambda: device
    )

  return trace_for


@pytest.fixture
def compute(monkeypatch, trace_for):
  """Returns `results`, where GPUs' kernels are plain XLA that does as told, and
  how close they come."""

  def compute(impl, case):
    if impl not in ("cudnn", "tokamax"):
      return results(impl, case), {"atol": 1e-5}
    trace_for("gpu")
    if impl == "cudnn":
      monkeypatch.setattr(cudnn.fused, "dot_product_attention", packed_kernel)
      by_mask = in_float32(jax.nn.dot_product_attention)
      kernel = lambda *qkv, mask, implementation: by_mask(*qkv, mask=mask)
      monkeypatch.setattr(jax.nn, "dot_product_attention", kernel)
    else:
      pytest.importorskip("tokamax", reason="needs Python 3.12")
      from tokamax._src.ops.attention import base
      from tokamax._src.ops.attention import pallas_mosaic_gpu as mosaic

      kernel = lambda: in_float32(base.DotProductAttention())
      monkeypatch.setattr(mosaic, "PallasMosaicGpuFlashAttention", kernel)
    return results(impl, case, jnp.float16), {"rtol": 2e-3, "atol": 4e-3}

  return compute


def in_float32(kernel):
  def call(*qkv, **kw):
    out = kernel(*(x.astype(jnp.float32) for x in qkv), **kw)
    return out.astype(qkv[0].dtype)

  return call


def packed_kernel(q, k, v, bias, mask, *layout, scale, mask_type):
  """What cuDNN does, by what its arguments say of where documents are in memory;
  nan for what is in none of them."""
  masks = cudnn.fused.MaskType
  assert bias is None and mask is None
  assert mask_type in (masks.PADDING, masks.PADDING_CAUSAL)
  fix = cudnn.fused._fix_seqlen_offsets
  sizes, key_sizes, begins, key_begins = fix(*layout, q, k)

  def documents_of(x, sizes, begins):
    width = math.prod(x.shape[2:])
    places = jnp.arange(x.size // width)[:, None]
    begins, sizes = begins.flatten()[: sizes.size] // width, sizes.flatten()
    inside = (begins <= places) & (places < begins + sizes)
    return jnp.where(inside.any(1), inside.argmax(1), -1)[None]

  # In memory, all rows are one.
  ids = documents_of(q, sizes, begins)
  key_ids = documents_of(k, key_sizes, key_begins)
  seen = Seen(ids, key_ids, causal=mask_type == masks.PADDING_CAUSAL)
  q_1, k_1, v_1 = (x.reshape(1, -1, *x.shape[2:]) for x in (q, k, v))
  q_1 *= scale * q.shape[-1] ** 0.5
  out = in_float32(lambda *qkv: dense.attend(*qkv, seen))(q_1, k_1, v_1)
  return jnp.where(ids[..., None, None] >= 0, out, jnp.nan).reshape(q.shape)


def pairs(serves):
  """Returns the backends and cases of which that is so."""
  return [
    (impl, case)
    for impl, backend in backends._BACKENDS.items()
    for case in CASES
    if impl != "dense"
    and (impl != "local" or "window" in CASES[case])
    and (asks(case) <= backend.SERVES) == serves
  ]


@pytest.mark.parametrize(("impl", "case"), pairs(serves=True))
def test_a_backend_is_dense_with_gradients(impl, case, compute):
  got, close = compute(impl, case)
  assert_is_dense(got, case, **close)


@pytest.mark.parametrize("impl", ["splash", "cudnn", "tokamax"])
def test_a_kernel_runs_on_each_device_of_a_mesh(impl, compute):
  axes = ("data", "fsdp", "tensor")
  mesh = jax.make_mesh((2, 2, 2), axes, (AxisType.Auto,) * 3)
  with partitioning.on(mesh):
    got, close = compute(impl, "causal")
  assert not got[0].sharding.is_fully_replicated
  assert_is_dense(got, "causal", **close)


@pytest.mark.parametrize(("impl", "case"), pairs(serves=False))
def test_a_backend_refuses_what_it_does_not_serve(impl, case):
  lacking = sorted(asks(case) - backends._BACKENDS[impl].SERVES)
  reason = f"model.attention='{impl}' has none of: {', '.join(lacking)}"
  with pytest.raises(InputError, match=reason):
    results(impl, case)


def attend_zeros(
  impl, batch=1, length=512, width=64, dtype="bfloat16", **asked
):
  """Returns attention's output of one document a row."""
  qkv = [jnp.zeros([batch, length, HEADS, width], dtype)] * 3
  ids_BL = jnp.ones([batch, length], jnp.int32)
  return attention(*qkv, segment_ids_BL=ids_BL, impl=impl, **asked)


@pytest.mark.parametrize(
  ("impl", "platform", "how", "reason"),
  [
    ("local", "gpu", {}, "serves layers with a window alone"),
    ("splash", "gpu", {}, "needs a TPU"),
    ("cudnn", "tpu", {}, "needs an NVIDIA GPU"),
    ("cudnn", "gpu", {"dtype": "float32"}, "not float32"),
    ("cudnn", "gpu", {"width": 12}, "not of 12"),
    ("cudnn", "gpu", {"width": 136}, "not of 136"),
    ("cudnn", "gpu", {"length": 1026, "window": 8}, "up to 1024 tokens"),
    ("cudnn", "gpu", {"length": 129, "window": 8}, "an even number"),
    ("cudnn", "older gpu", {"length": 1026}, "up to 1024 tokens"),
    ("tokamax", "cpu", {}, "Hopper or Blackwell"),
    ("tokamax", "older gpu", {}, "Hopper or Blackwell"),
    ("tokamax", "gpu", {"dtype": "float32"}, "not float32"),
  ],
)
def test_a_backend_says_what_is_in_its_way(
  impl, platform, how, reason, trace_for
):
  if impl == "tokamax":
    pytest.importorskip("tokamax", reason="needs Python 3.12")
  trace_for(platform)
  with pytest.raises(InputError, match=f"model.attention='{impl}' .*{reason}"):
    attend_zeros(impl, **how)


def test_tokamax_says_how_it_is_installed(monkeypatch):
  monkeypatch.setitem(sys.modules, "tokamax._src", None)
  with pytest.raises(InputError, match="pip install tokamax"):
    attend_zeros("tokamax")


def test_an_unknown_backend_names_the_nearest():
  with pytest.raises(InputError, match="did you mean 'dense'"):
    attend_zeros("dens")


@pytest.fixture
def chosen(monkeypatch):
  """Returns a list of the backends that have served, which do nothing."""
  names = []
  for name, backend in backends._BACKENDS.items():
    attend = lambda q, *_, name=name: names.append(name) or q
    monkeypatch.setattr(backend, "attend", attend)
  return names


LONG = {"length": 8192, "batch": 4}
PREFIX = {"causal": True, "prefix_BL": 1}


@pytest.mark.parametrize(
  ("platform", "how", "choice"),
  [
    ("tpu", {}, "splash"),
    ("tpu", {"causal": True, "window": 128}, "splash"),
    ("tpu", {"length": 128}, "dense"),
    ("tpu", {"slopes_H": 1}, "dense"),
    ("tpu", {"slopes_H": 1, "window": 128}, "local"),
    ("tpu", {"bias_HLM": 1, **LONG}, "chunked"),
    ("gpu", {}, "cudnn"),
    ("gpu", LONG, "cudnn"),
    ("gpu", {"window": 128}, "local"),
    ("gpu", PREFIX, "cudnn"),
    ("gpu", {**PREFIX, **LONG}, "chunked"),
    ("gpu", {"dtype": "float32"}, "dense"),
    ("older gpu", {}, "cudnn"),
    ("older gpu", LONG, "chunked"),
    ("cpu", {}, "dense"),
    ("cpu", LONG, "chunked"),
    ("cpu", {"window": 128}, "local"),
    # A block of queries would have all keys.
    ("cpu", {"window": 256}, "dense"),
  ],
)
def test_auto_chooses(platform, how, choice, trace_for, chosen):
  trace_for(platform)
  attend_zeros("auto", **how)
  assert chosen == [choice]


def test_auto_counts_the_scores_of_one_device(chosen):
  with jax.set_mesh(jax.make_mesh((8,), ("data",), (AxisType.Auto,))):
    attend_zeros("auto", **LONG)
  assert chosen == ["dense"]


@pytest.mark.parametrize(
  ("num_keys", "fused"),
  [(128, True), (256, True), (1024, True), (384, False), (1536, False)],
)
def test_splash_fuses_the_backward_of_two_blocks(num_keys, fused):
  blocks = splash.block_sizes(512, num_keys)
  assert blocks.use_fused_bwd_kernel == fused
  assert (num_keys <= 2 * blocks.block_kv) == fused


def test_cudnn_is_told_where_documents_are():
  rows = packed(10, [3, 1, 4], [10], [], [2] * 5)
  sizes, begins = jax.jit(cudnn.documents, static_argnames="most")(rows, most=4)
  none, one_too_many = -1, 8
  assert sizes.tolist() == [
    [3, 1, 4, 2],  # Padding is the last.
    [10, none, none, none],
    [10, none, none, none],
    [2, 2, 2, 2],
  ]
  assert begins.tolist() == [
    [0, 3, 4, 8, none],
    [0, none, none, none, none],
    [0, none, none, none, none],
    [0, 2, 4, 6, one_too_many],
  ]


def test_cudnn_serves_rows_of_too_many_documents(trace_for, monkeypatch):
  monkeypatch.setattr(cudnn.fused, "dot_product_attention", packed_kernel)
  trace_for("gpu")
  ids_BL = jnp.array(packed(64, [1] * 63, [64]))
  x = jax.random.normal(jax.random.key(0), [2, 64, 2, WIDTH], jnp.float16)
  got, expected = (
    jax.jit(functools.partial(attention, segment_ids_BL=ids_BL, impl=impl))
    for impl in ("cudnn", "dense")
  )
  np.testing.assert_allclose(got(x, x, x), expected(x, x, x), atol=4e-3)


def lowered(impl, case):
  run, arrays = program(impl, case, jnp.bfloat16)
  return run.trace(*arrays).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize(
  ("case", "kernel"),
  [
    ("documents", "fmhaSoftmax"),
    ("causal", "fmhaSoftmax"),
    ("window", "fmhaScaleBiasSoftmax"),
    ("prefix", "fmhaScaleBiasSoftmax"),
    ("across", "fmhaScaleBiasSoftmax"),
  ],
)
def test_cudnn_lowers_to_its_kernels(case, kernel, trace_for):
  trace_for("gpu")
  text = lowered("cudnn", case)
  for direction in ("", "Backward"):
    assert f"@__cudnn${kernel}{direction}(" in text
  # Of packed documents, there is the loop over chunks, too.
  is_packed = kernel == "fmhaSoftmax"
  assert ("stablehlo.case" in text) == ("stablehlo.while" in text) == is_packed


@pytest.mark.parametrize(
  "case", [case for case in CASES if asks(case) <= tokamax.SERVES]
)
def test_tokamax_has_the_interval_that_a_query_sees(case):
  _, kw = make(case)
  ids_BL = kw.pop("segment_ids_BL")
  key_ids_BM = kw.pop("key_segment_ids_BM", ids_BL)
  seen = Seen(ids_BL, key_ids_BM, prefix_BM=kw.pop("prefix_BL", None), **kw)
  starts_BL, ends_BL = jax.jit(lambda: tokamax.intervals(seen))()
  index_M = np.arange(key_ids_BM.shape[1])
  inside_BLM = starts_BL[..., None] <= index_M
  inside_BLM &= index_M < ends_BL[..., None]
  sees_BL = seen.mask_BLM.any(axis=2)
  assert (inside_BLM == seen.mask_BLM)[sees_BL].all()
  assert (inside_BLM.sum(axis=2)[~sees_BL] == 1).all()


@pytest.mark.parametrize("case", ["documents", "causal window", "across"])
def test_tokamax_lowers_to_its_kernels(case, trace_for):
  pytest.importorskip("tokamax", reason="needs Python 3.12")
  trace_for("gpu")
  gpu = jax.sharding.AbstractDevice(Gpu.device_kind, Gpu.core_count, "gpu")
  mesh = jax.sharding.AbstractMesh((), (), abstract_device=gpu)
  with jax.sharding.use_abstract_mesh(mesh):
    text = lowered("tokamax", case)
  # Forward, and backward for queries and for keys.
  assert text.count("@mosaic_gpu") == 3
