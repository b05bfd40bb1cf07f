"""What attention is asked for in tests, and what it then is."""

import jax.numpy as jnp
import numpy as np

from mlm_jax.models.positions import alibi_slopes

HEADS, WIDTH = 4, 8

# What is asked for, of rows of 130 tokens and two heads of keys if nothing else
# is said. Windows are shares of a row.
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
  "across": {"across": True, "length": 300},
}


def asks(case):
  return set(CASES[case]) - {"length", "kv_heads"}


def packed(length, *documents):
  """Returns segment ids of rows of documents of these sizes, then padding."""
  rows = np.zeros([len(documents), length], np.int32)
  for row, sizes in zip(rows, documents, strict=True):
    row[: sum(sizes)] = np.repeat(np.arange(len(sizes)) + 1, sizes)
  return rows


def make(case, length=None):
  """Returns q, k, v and a bias if there is one, and the other arguments."""
  asked = CASES[case]
  length = num_keys = length or asked.get("length", 130)
  third, quarter = length // 3, length // 4
  # One document; some, one of them a token, and padding; none; and some more.
  ids = packed(length, [length], [third, 1, third], [], [quarter] * 3)
  kw = {
    "segment_ids_BL": jnp.array(ids),
    "causal": "causal" in asked,
    "window": int(asked.get("window", 0) * length) // 2 * 2,
  }
  if "across" in asked:
    # Of the second row, the last document and padding see nothing.
    num_keys = 3 * quarter // 2 * 2
    sizes = [num_keys], [num_keys - 3, 3], [], [quarter, 1, quarter]
    kw["key_segment_ids_BM"] = jnp.array(packed(num_keys, *sizes))
  if "prefix" in asked:
    same = ids[:, :, None] == ids[:, None]
    places, sizes = np.arange(length) - same.argmax(2), same.sum(2)
    prefix = (places < sizes // 2) & (ids > 0)
    kw["prefix_BL"] = jnp.array(prefix, jnp.int32)
  if "slopes" in asked:
    kw["slopes_H"] = jnp.array(alibi_slopes(HEADS))
  kv = len(ids), num_keys, asked.get("kv_heads", 2), WIDTH
  shapes = [(len(ids), length, HEADS, WIDTH), kv, kv]
  shapes += [(HEADS, length, num_keys)] if "bias" in asked else []
  draw = np.random.default_rng(0).standard_normal
  # Numbers that all dtypes have.
  arrays = [draw(shape).astype(np.float16) for shape in shapes]
  return [jnp.array(array, jnp.float32) for array in arrays], kw


def by_hand(arrays, kw):
  """The definition, with loops; nan for what sees nothing."""
  q, k, v, *bias = map(np.asarray, arrays)
  ids = np.asarray(kw["segment_ids_BL"])
  key_ids = np.asarray(kw.get("key_segment_ids_BM", ids))
  prefix = np.asarray(kw.get("prefix_BL", np.zeros_like(key_ids)))
  slopes = kw.get("slopes_H", np.zeros(HEADS))
  out = np.full_like(q, np.nan)
  for b, i, h in np.ndindex(q.shape[:3]):
    seen = [
      j
      for j in range(k.shape[1])
      if ids[b, i] == key_ids[b, j]
      and (j <= i or prefix[b, j] or not kw["causal"])
      and (abs(i - j) <= kw["window"] // 2 or not kw["window"])
    ]
    if seen:
      g = h // (HEADS // k.shape[2])
      scores = k[b, seen, g] @ q[b, i, h] / np.sqrt(WIDTH)
      scores -= slopes[h] * np.abs(i - np.array(seen))
      scores += bias[0][h, i, seen] if bias else 0
      weights = np.exp(scores - scores.max())
      out[b, i, h] = weights @ v[b, seen, g] / weights.sum()
  return out
