import dataclasses
import functools
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from mlm_jax.errors import InputError
from mlm_jax.models import attention as backends
from mlm_jax.models.attention import (
  AttentionMask,
  attention,
  cudnn,
  dense,
  splash,
  tokamax,
)
from mlm_jax.training import partitioning
from tests.models.attention_cases import (
  CASES,
  H100,
  WIDTH,
  attend_zeros,
  by_hand,
  features,
  make,
  packed,
)


@pytest.mark.parametrize("case", CASES)
def test_dense_matches_the_definition(case):
  (q, k, v, *bias), mask = made = make(case, length=12)
  out = attention(q, k, v, with_bias(mask, bias), "dense")
  expected = by_hand(*made)
  is_defined = ~np.isnan(expected)
  np.testing.assert_allclose(out[is_defined], expected[is_defined], atol=1e-5)


def with_bias(mask, bias):
  return dataclasses.replace(mask, bias_HLM=bias[0] if bias else None)


def program(impl, case, dtype=jnp.float32):
  """Returns a jitted function that computes a backend's output, where there are
  visible keys, and its gradients; and the function's arguments."""
  arrays, mask = make(case)
  is_defined_BL = jnp.any(
    mask.segment_ids_BL[:, :, None] == mask.segment_ids_BM[:, None], axis=2
  )

  def attend(q, k, v, *bias):
    qkv = (x.astype(dtype) for x in (q, k, v))
    out = attention(*qkv, with_bias(mask, bias), impl).astype(jnp.float32)
    return jnp.where(is_defined_BL[..., None, None], out, 0)

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
def dense_results(case):
  return results("dense", case)


def assert_matches_dense(found, case, **tolerance):
  for array, expected in zip(found, dense_results(case), strict=True):
    np.testing.assert_allclose(array, expected, **tolerance)


@pytest.fixture
def compute(monkeypatch, trace_for):
  """Returns a function like `results`, with GPU kernels emulated in plain XLA,
  which also returns the tolerance to compare with."""

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


def packed_kernel(
  q,
  k,
  v,
  bias,
  mask,
  q_seqlen,
  kv_seqlen,
  q_offsets,
  kv_offsets,
  scale,
  mask_type,
):
  """Emulates cuDNN's kernel from the layout of documents in memory that its
  arguments describe; NaN outside of all documents."""
  masks = cudnn.fused.MaskType
  assert bias is None and mask is None
  assert mask_type in (masks.PADDING, masks.PADDING_CAUSAL)
  lengths, key_lengths, starts, key_starts = cudnn.fused._fix_seqlen_offsets(
    q_seqlen, kv_seqlen, q_offsets, kv_offsets, q, k
  )

  def segment_ids(x, lengths, starts):
    width = math.prod(x.shape[2:])
    index = jnp.arange(x.size // width)[:, None]
    starts, lengths = (
      starts.flatten()[: lengths.size] // width,
      lengths.flatten(),
    )
    inside = (starts <= index) & (index < starts + lengths)
    return jnp.where(inside.any(1), inside.argmax(1), -1)[None]

  # In memory, all rows are one.
  ids = segment_ids(q, lengths, starts)
  key_ids = segment_ids(k, key_lengths, key_starts)
  is_causal = mask_type == masks.PADDING_CAUSAL
  documents = AttentionMask(ids, key_ids, causal=is_causal)
  q_1, k_1, v_1 = (x.reshape(1, -1, *x.shape[2:]) for x in (q, k, v))
  q_1 *= scale * q.shape[-1] ** 0.5
  out = in_float32(lambda *qkv: dense.attend(*qkv, documents))(q_1, k_1, v_1)
  return jnp.where(ids[..., None, None] >= 0, out, jnp.nan).reshape(q.shape)


def pairs(supported):
  """Returns pairs of a backend and a case that it does or does not support."""
  return [
    (impl, case)
    for impl, backend in backends.BACKENDS.items()
    for case in CASES
    if impl != "dense"
    and (impl != "local" or "window" in CASES[case])
    and (features(case) <= backend.SUPPORTS) == supported
  ]


@pytest.mark.slow
@pytest.mark.parametrize(("impl", "case"), pairs(supported=True))
def test_backend_matches_dense_with_gradients(impl, case, compute):
  found, tolerance = compute(impl, case)
  assert_matches_dense(found, case, **tolerance)


@pytest.mark.parametrize("impl", ["splash", "cudnn", "tokamax"])
def test_kernel_runs_on_each_device_of_a_mesh(impl, compute):
  axes = ("data", "fsdp", "tensor")
  mesh = jax.make_mesh((2, 2, 2), axes, (AxisType.Auto,) * 3)
  with partitioning.on(mesh):
    found, tolerance = compute(impl, "causal")
  assert not found[0].sharding.is_fully_replicated
  assert_matches_dense(found, "causal", **tolerance)


@pytest.mark.parametrize(("impl", "case"), pairs(supported=False))
def test_unsupported_features_raise_input_error(impl, case):
  missing = sorted(features(case) - backends.BACKENDS[impl].SUPPORTS)
  with pytest.raises(InputError) as error:
    results(impl, case)
  message = str(error.value)
  assert f"model.attention='{impl}' does not support" in message
  assert f": {', '.join(missing)};" in message
  assert "dense" in message.partition(";")[2]


@pytest.mark.parametrize(
  ("impl", "platform", "wanted", "reason"),
  [
    ("local", "gpu", {}, "only layers with a window"),
    ("splash", "gpu", {}, "needs a TPU"),
    ("cudnn", "tpu", {}, "needs an NVIDIA GPU"),
    ("cudnn", "gpu", {"dtype": "float32"}, "not float32"),
    ("cudnn", "gpu", {"width": 12}, "not 12"),
    ("cudnn", "gpu", {"width": 136}, "not 136"),
    ("cudnn", "gpu", {"length": 1026, "window": 8}, "up to 1024 tokens"),
    ("cudnn", "gpu", {"length": 129, "window": 8}, "even length"),
    ("cudnn", "older gpu", {"length": 1026}, "up to 1024 tokens"),
    ("tokamax", "cpu", {}, "Hopper or Blackwell"),
    ("tokamax", "older gpu", {}, "Hopper or Blackwell"),
    ("tokamax", "gpu", {"dtype": "float32"}, "not float32"),
  ],
)
def test_unsupported_platform_or_shape_raises_input_error(
  impl, platform, wanted, reason, trace_for
):
  if impl == "tokamax":
    pytest.importorskip("tokamax", reason="needs Python 3.12")
  trace_for(platform)
  with pytest.raises(InputError, match=f"model.attention='{impl}' .*{reason}"):
    attend_zeros(impl, **wanted)


def test_missing_tokamax_names_the_install_command(monkeypatch):
  monkeypatch.setitem(sys.modules, "tokamax._src", None)
  with pytest.raises(InputError, match="pip install tokamax"):
    attend_zeros("tokamax")


def test_unknown_backend_suggests_the_closest():
  with pytest.raises(InputError, match="did you mean 'dense'"):
    attend_zeros("dens")


@pytest.mark.parametrize(
  ("num_keys", "fused"),
  [(128, True), (256, True), (1024, True), (384, False), (1536, False)],
)
def test_splash_fuses_the_backward_pass_of_two_blocks(num_keys, fused):
  blocks = splash.block_sizes(512, num_keys)
  assert blocks.use_fused_bwd_kernel == fused
  assert (num_keys <= 2 * blocks.block_kv) == fused


def test_cudnn_layout_lists_the_documents():
  rows = packed(10, [3, 1, 4], [10], [], [2] * 5)
  layout = jax.jit(cudnn.documents, static_argnames="max_documents")
  lengths, starts = layout(rows, max_documents=4)
  none, one_too_many = -1, 8
  assert lengths.tolist() == [
    [3, 1, 4, 2],  # Padding is the last.
    [10, none, none, none],
    [10, none, none, none],
    [2, 2, 2, 2],
  ]
  assert starts.tolist() == [
    [0, 3, 4, 8, none],
    [0, none, none, none, none],
    [0, none, none, none, none],
    [0, 2, 4, 6, one_too_many],
  ]


def test_cudnn_falls_back_to_chunks_for_many_documents(trace_for, monkeypatch):
  monkeypatch.setattr(cudnn.fused, "dot_product_attention", packed_kernel)
  trace_for("gpu")
  mask = AttentionMask(jnp.array(packed(64, [1] * 63, [64])))
  x = jax.random.normal(jax.random.key(0), [2, 64, 2, WIDTH], jnp.float16)
  found, expected = (
    jax.jit(functools.partial(attention, mask=mask, impl=impl))
    for impl in ("cudnn", "dense")
  )
  np.testing.assert_allclose(found(x, x, x), expected(x, x, x), atol=4e-3)


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
    ("cross attention", "fmhaScaleBiasSoftmax"),
  ],
)
def test_cudnn_lowers_to_its_kernels(case, kernel, trace_for):
  trace_for("gpu")
  text = lowered("cudnn", case)
  for direction in ("", "Backward"):
    assert f"@__cudnn${kernel}{direction}(" in text
  # For packed documents, there is also the loop over chunks.
  is_packed = kernel == "fmhaSoftmax"
  assert ("stablehlo.case" in text) == ("stablehlo.while" in text) == is_packed


@pytest.mark.parametrize(
  "case", [case for case in CASES if features(case) <= tokamax.SUPPORTS]
)
def test_tokamax_intervals_are_the_visible_keys(case):
  _, mask = make(case)
  starts_BL, ends_BL = jax.jit(lambda: tokamax.intervals(mask))()
  index_M = np.arange(mask.segment_ids_BM.shape[1])
  inside_BLM = starts_BL[..., None] <= index_M
  inside_BLM &= index_M < ends_BL[..., None]
  is_defined_BL = mask.visible_BLM.any(axis=2)
  assert (inside_BLM == mask.visible_BLM)[is_defined_BL].all()
  assert (inside_BLM.sum(axis=2)[~is_defined_BL] == 1).all()


@pytest.mark.parametrize(
  "case", ["documents", "causal window", "cross attention"]
)
def test_tokamax_lowers_to_its_kernels(case, trace_for):
  pytest.importorskip("tokamax", reason="needs Python 3.12")
  trace_for("gpu")
  gpu = jax.sharding.AbstractDevice(H100.device_kind, H100.core_count, "gpu")
  mesh = jax.sharding.AbstractMesh((), (), abstract_device=gpu)
  with jax.sharding.use_abstract_mesh(mesh):
    text = lowered("tokamax", case)
  # Forward, and backward for queries and for keys.
  assert text.count("@mosaic_gpu") == 3
