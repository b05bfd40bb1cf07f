"""Windows, in plain XLA: blocks of queries, each with the keys around it."""

import dataclasses

import jax
import jax.numpy as jnp

from mlm_jax.models.attention import dense
from mlm_jax.models.attention.seen import Seen

SERVES = {"causal", "prefix", "window", "slopes"}

# Matrix units like that many queries at a time.
_LEAST = 128


def refusal(q_BLHK: jax.Array, k_BMGK: jax.Array, seen: Seen) -> str:
  return "" if seen.window else "serves layers with a window alone"


def num_keys(window: int) -> int:
  """Returns how many keys a block of queries is scored against."""
  return _block(window) + window


def attend(
  q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGK: jax.Array, seen: Seen
) -> jax.Array:
  """Folds rows into blocks of queries, which become the batch.

  Block j has the keys of its own places and of half a window to either side: so
  the distances between its queries and its keys are the same for every j.
  """
  batch_size, length, num_heads, head_width = q_BLHK.shape
  block, half = _block(seen.window), seen.window // 2
  num_blocks = -(-length // block)

  def of_queries(x_BL, fill=0):
    x_BL = _pad(x_BL, 0, num_blocks * block - length, fill)
    return x_BL.reshape(-1, block, *x_BL.shape[2:])

  def of_keys(x_BM, fill=0):
    # Block j ends where the start of block j + 1 does.
    x_BM = _pad(x_BM, half, (num_blocks + 1) * block - half - length, fill)
    x_BJM = x_BM.reshape(batch_size, -1, block, *x_BM.shape[2:])
    x_BJM = jnp.concatenate(
      [x_BJM[:, :-1], x_BJM[:, 1:, : seen.window]], axis=2
    )
    return x_BJM.reshape(-1, num_keys(seen.window), *x_BM.shape[2:])

  prefix_BM = seen.prefix_BM
  folded = dataclasses.replace(
    seen,
    # What is past the ends is in no document.
    segments_BL=of_queries(seen.segments_BL, fill=-1),
    segments_BM=of_keys(seen.segments_BM, fill=-1),
    prefix_BM=None if prefix_BM is None else of_keys(prefix_BM),
    ahead=half,
  )
  x = dense.attend(of_queries(q_BLHK), of_keys(k_BMGK), of_keys(v_BMGK), folded)
  return x.reshape(batch_size, -1, num_heads, head_width)[:, :length]


def _block(window):
  return max(window, _LEAST)


def _pad(x_BL, before, after, fill):
  sizes = [(0, 0), (before, after)] + [(0, 0)] * (x_BL.ndim - 2)
  return jnp.pad(x_BL, sizes, constant_values=fill)
