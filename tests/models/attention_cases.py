"""Cases of attention for tests, and its definition in loops."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax.models.attention import AttentionMask, attention
from mlm_jax.models.positions import alibi_slopes

HEADS, WIDTH = 4, 8


@dataclasses.dataclass(frozen=True)
class Gpu:
  """The attributes of a device that tokamax reads."""

  compute_capability: str
  device_kind: str = "NVIDIA H100 80GB HBM3"
  platform: str = "gpu"
  core_count: int = 132


H100, OLDER_GPU = Gpu("9.0"), Gpu("8.0")

# What each case requests, of rows of 130 tokens and two heads of keys by
# default. Windows are shares of a row.
CASES = {
  "documents": {"kv_heads": HEADS},
  "causal": {"causal": True, "length": 300},
  "window": {"window": 0.25},
  "window over a document": {"window": 0.8, "length": 300},
  "window over a row": {"window": 4},
  "causal window": {"causal": True, "window": 0.25, "kv_heads": HEADS},
  "prefix": {"causal": True, "prefix": True, "length": 300},
  "prefix window": {"causal": True, "prefix": True, "window": 0.25},
  "slopes": {"slopes": True, "length": 300},
  "slopes window": {"slopes": True, "window": 0.25},
  "bias": {"bias": True, "length": 300},
  "cross attention": {"cross": True, "length": 300},
}

_FEATURES = {
  "causal": "causal mask",
  "prefix": "prefix",
  "window": "window",
  "slopes": "ALiBi slopes",
  "bias": "additive bias",
  "cross": "cross attention",
}


def features(case):
  """Returns the names of the features that a case requests."""
  return {_FEATURES[key] for key in CASES[case] if key in _FEATURES}


def packed(length, *documents):
  """Returns segment ids of rows of documents of these lengths, then padding."""
  rows = np.zeros([len(documents), length], np.int32)
  for row, lengths in zip(rows, documents, strict=True):
    row[: sum(lengths)] = np.repeat(np.arange(len(lengths)) + 1, lengths)
  return rows


def make(case, length=None):
  """Returns q, k, v and a bias, if there is one, and the rest of the mask."""
  requested = CASES[case]
  length = num_keys = length or requested.get("length", 130)
  third, quarter = length // 3, length // 4
  # One document; some, one of them a token, and padding; none; and some more.
  ids = packed(length, [length], [third, 1, third], [], [quarter] * 3)
  kw = {
    "causal": "causal" in requested,
    "window": int(requested.get("window", 0) * length) // 2 * 2,
  }
  if "cross" in requested:
    # The last document and the padding of the second row have no keys.
    num_keys = 3 * quarter // 2 * 2
    lengths = [num_keys], [num_keys - 3, 3], [], [quarter, 1, quarter]
    kw["key_segment_ids_BM"] = jnp.array(packed(num_keys, *lengths))
  if "prefix" in requested:
    same = ids[:, :, None] == ids[:, None]
    positions, lengths = np.arange(length) - same.argmax(2), same.sum(2)
    prefix = (positions < lengths // 2) & (ids > 0)
    kw["prefix_BM"] = jnp.array(prefix, jnp.int32)
  if "slopes" in requested:
    kw["slopes_H"] = jnp.array(alibi_slopes(HEADS))
  kv = len(ids), num_keys, requested.get("kv_heads", 2), WIDTH
  shapes = [(len(ids), length, HEADS, WIDTH), kv, kv]
  shapes += [(HEADS, length, num_keys)] if "bias" in requested else []
  normal = np.random.default_rng(0).standard_normal
  # Numbers that are exact in all dtypes.
  arrays = [normal(shape).astype(np.float16) for shape in shapes]
  mask = AttentionMask(jnp.array(ids), **kw)
  return [jnp.array(array, jnp.float32) for array in arrays], mask


def by_hand(arrays, mask):
  """The definition, in loops; NaN for queries without visible keys."""
  q, k, v, *bias = map(np.asarray, arrays)
  ids, key_ids = map(np.asarray, (mask.segment_ids_BL, mask.segment_ids_BM))
  no_prefix = np.zeros_like(key_ids)
  prefix = no_prefix if mask.prefix_BM is None else np.asarray(mask.prefix_BM)
  slopes = np.zeros(HEADS) if mask.slopes_H is None else mask.slopes_H
  out = np.full_like(q, np.nan)
  for b, i, h in np.ndindex(q.shape[:3]):
    visible = [
      j
      for j in range(k.shape[1])
      if ids[b, i] == key_ids[b, j]
      and (j <= i or prefix[b, j] or not mask.causal)
      and (abs(i - j) <= mask.window // 2 or not mask.window)
    ]
    if visible:
      g = h // (HEADS // k.shape[2])
      scores = k[b, visible, g] @ q[b, i, h] / np.sqrt(WIDTH)
      scores -= slopes[h] * np.abs(i - np.array(visible))
      scores += bias[0][h, i, visible] if bias else 0
      weights = np.exp(scores - scores.max())
      out[b, i, h] = weights @ v[b, visible, g] / weights.sum()
  return out


def shapes(batch=1, length=512, width=64, dtype="bfloat16", **requested):
  """Returns the shapes of q and k, and the mask of one document a row."""
  q = jax.ShapeDtypeStruct([batch, length, HEADS, width], dtype)
  return q, q, AttentionMask(jnp.ones([batch, length], jnp.int32), **requested)


def attend_zeros(impl, **request):
  """Returns attention's output of one document a row."""
  q, _, mask = shapes(**request)
  zeros = jnp.zeros(q.shape, q.dtype)
  return attention(zeros, zeros, zeros, mask, impl)
