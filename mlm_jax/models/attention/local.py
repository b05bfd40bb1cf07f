"""Windows, in plain XLA: blocks of queries, each with the keys around it."""

import dataclasses

import jax
import jax.numpy as jnp

from mlm_jax.models.attention import dense
from mlm_jax.models.attention.mask import AttentionMask

SUPPORTS = {"causal mask", "prefix", "window", "ALiBi slopes"}

# Matrix units work best on at least this many queries at a time.
_MIN_BLOCK_LENGTH = 128


def why_unsupported(
  q_BLHK: jax.Array, k_BMGK: jax.Array, mask: AttentionMask
) -> str:
  return "" if mask.window else "supports only layers with a window"


def num_keys(window: int) -> int:
  """Returns how many keys each block of queries is scored against."""
  return _block_length(window) + window


def attend(
  q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGK: jax.Array, mask: AttentionMask
) -> jax.Array:
  """Folds rows into blocks of queries, which become the batch.

  A block has the keys at its own positions and half a window on either side. So
  the distances between queries and keys are the same in every block.
  """
  batch_size, length, num_heads, head_width = q_BLHK.shape
  block_length, half = _block_length(mask.window), mask.window // 2
  num_blocks = -(-length // block_length)

  def fold_queries(x_BL, fill=0):
    x_BL = _pad(x_BL, 0, num_blocks * block_length - length, fill)
    return x_BL.reshape(-1, block_length, *x_BL.shape[2:])

  def fold_keys(x_BM, fill=0):
    after = (num_blocks + 1) * block_length - half - length
    x_BM = _pad(x_BM, half, after, fill)
    x_BCM = x_BM.reshape(batch_size, -1, block_length, *x_BM.shape[2:])
    # The keys after a block's own are the first of the next block.
    x_BCM = jnp.concatenate(
      [x_BCM[:, :-1], x_BCM[:, 1:, : mask.window]], axis=2
    )
    return x_BCM.reshape(-1, num_keys(mask.window), *x_BM.shape[2:])

  prefix_BM = mask.prefix_BM
  folded = dataclasses.replace(
    mask,
    # The padding at both ends is in no document.
    segment_ids_BL=fold_queries(mask.segment_ids_BL, fill=-1),
    key_segment_ids_BM=fold_keys(mask.segment_ids_BM, fill=-1),
    prefix_BM=None if prefix_BM is None else fold_keys(prefix_BM),
    query_offset=half,
  )
  x = dense.attend(
    fold_queries(q_BLHK), fold_keys(k_BMGK), fold_keys(v_BMGK), folded
  )
  return x.reshape(batch_size, -1, num_heads, head_width)[:, :length]


def _block_length(window):
  return max(window, _MIN_BLOCK_LENGTH)


def _pad(x_BL, before, after, fill):
  sizes = [(0, 0), (before, after)] + [(0, 0)] * (x_BL.ndim - 2)
  return jnp.pad(x_BL, sizes, constant_values=fill)
