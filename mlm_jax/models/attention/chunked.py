"""A chunk of queries at a time, in plain XLA: bounded memory for scores."""

import dataclasses

import jax
import jax.numpy as jnp

from mlm_jax.models.attention import dense
from mlm_jax.models.attention.mask import AttentionMask

SUPPORTS = dense.SUPPORTS

_CHUNK_LENGTH = 256


def why_unsupported(
  q_BLHK: jax.Array, k_BMGK: jax.Array, mask: AttentionMask
) -> str:
  return ""


def attend(
  q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGK: jax.Array, mask: AttentionMask
) -> jax.Array:
  """Scores a chunk of queries against all keys, and recomputes the scores for
  the gradient (Rabe and Staats 2021)."""
  length = q_BLHK.shape[1]

  def cut(x, axis, fill=0):
    """Returns x in chunks of queries, along a new first axis."""
    padding = [(0, 0)] * x.ndim
    padding[axis] = (0, -length % _CHUNK_LENGTH)
    x = jnp.pad(x, padding, constant_values=fill)
    shape = (*x.shape[:axis], -1, _CHUNK_LENGTH, *x.shape[axis + 1 :])
    return jnp.moveaxis(x.reshape(shape), axis, 0)

  def attend_chunk(_, chunk):
    query_offset, q_BLHK, segment_ids_BL, bias_HLM = chunk
    chunk_mask = dataclasses.replace(
      mask,
      segment_ids_BL=segment_ids_BL,
      key_segment_ids_BM=mask.segment_ids_BM,
      bias_HLM=bias_HLM,
      query_offset=query_offset,
    )
    return None, dense.attend(q_BLHK, k_BMGK, v_BMGK, chunk_mask)

  bias_HLM = mask.bias_HLM
  chunks = (
    jnp.arange(0, length, _CHUNK_LENGTH),
    cut(q_BLHK, 1),
    # The padding of the last chunk is in no document.
    cut(mask.segment_ids_BL, 1, fill=-1),
    None if bias_HLM is None else cut(bias_HLM, 1),
  )
  x_CBLHK = jax.lax.scan(jax.checkpoint(attend_chunk), None, chunks)[1]
  x_BLHK = jnp.moveaxis(x_CBLHK, 0, 1).reshape(
    len(q_BLHK), -1, *q_BLHK.shape[2:]
  )
  return x_BLHK[:, :length]
