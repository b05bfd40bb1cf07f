"""Attention within the documents of packed rows: one function, many kernels.

`attention` is the only way in. A backend is one entry in `_BACKENDS`; which one
serves is decided while tracing.
"""

import jax
import jax.numpy as jnp

from mlm_jax.errors import unknown


def attention(
  q_BLHK: jax.Array,
  k_BMGK: jax.Array,
  v_BMGK: jax.Array,
  *,
  segment_ids_BL: jax.Array,
  key_segment_ids_BM: jax.Array | None = None,
  causal: bool = False,
  prefix_BL: jax.Array | None = None,
  window: int = 0,
  slopes_H: jax.Array | None = None,
  bias_HLM: jax.Array | None = None,
  impl: str = "auto",
) -> jax.Array:
  """Returns what each token gathers from the tokens of its own document.

  Args:
    q_BLHK: queries.
    k_BMGK: keys; each of them serves H / G heads, neighbours of each other.
    v_BMGK: values.
    segment_ids_BL: the document of each token; padding (0) sees padding alone.
    key_segment_ids_BM: the same of the keys, where they are another row's.
    causal: does a token see none after it?
    prefix_BL: where it is not 0, what comes before it sees it, too.
    window: how many tokens around it a token sees, half to either side; 0 is
      all of its document.
    slopes_H: what a score loses by each token of distance; None is nothing.
    bias_HLM: what is added to scores; None is nothing.
    impl: the backend, or "auto".

  Raises:
    InputError: no such backend.
  """
  if impl == "auto":
    impl = "dense"
  if impl not in _BACKENDS:
    raise unknown("attention backend", impl, ["auto", *_BACKENDS])
  if key_segment_ids_BM is None:
    key_segment_ids_BM = segment_ids_BL
  segments = segment_ids_BL, key_segment_ids_BM
  seen = *segments, causal, prefix_BL, window
  return _BACKENDS[impl](q_BLHK, k_BMGK, v_BMGK, seen, slopes_H, bias_HLM)


def _dense(q_BLHK, k_BMGK, v_BMGK, seen, slopes_H, bias_HLM):
  """Scores all pairs; softmax in float32 (Vaswani et al. 2017)."""
  batch_size, length, num_heads, head_width = q_BLHK.shape
  kv_heads = k_BMGK.shape[2]
  by_group = (batch_size, length, kv_heads, num_heads // kv_heads, head_width)
  # The queries that share their keys are the N rows of one matrix.
  q_BGRLK = (
    (q_BLHK * head_width**-0.5).reshape(by_group).transpose(0, 2, 3, 1, 4)
  )
  scores_BGNM = jnp.einsum(
    "BGNK,BGMK->BGNM",
    q_BGRLK.reshape(batch_size, kv_heads, -1, head_width),
    k_BMGK.transpose(0, 2, 1, 3),
    preferred_element_type=jnp.float32,
  )
  scores_BGRLM = scores_BGNM.reshape(*q_BGRLK.shape[:-1], -1)
  index_L, index_M = jnp.arange(length), jnp.arange(k_BMGK.shape[1])
  distance_LM = jnp.abs(index_L[:, None] - index_M)
  if slopes_H is not None:
    slopes_GR11 = slopes_H.reshape(kv_heads, -1, 1, 1)
    scores_BGRLM -= slopes_GR11 * distance_LM
  if bias_HLM is not None:
    scores_BGRLM += bias_HLM.reshape(scores_BGRLM.shape[1:])
  segments_BL, segments_BM, causal, prefix_BL, window = seen
  seen_BLM = segments_BL[:, :, None] == segments_BM[:, None, :]
  if causal:
    before_BLM = (index_L[:, None] >= index_M)[None]
    if prefix_BL is not None:
      before_BLM |= prefix_BL[:, None, :] != 0
    seen_BLM &= before_BLM
  if window:
    seen_BLM &= distance_LM <= window // 2
  scores_BGRLM = jnp.where(seen_BLM[:, None, None], scores_BGRLM, -1e30)
  # The softmax, whose sum divides K numbers a query and not its M weights.
  highest_BGRL1 = jnp.max(scores_BGRLM, axis=-1, keepdims=True)
  weights_BGRLM = jnp.exp(scores_BGRLM - jax.lax.stop_gradient(highest_BGRL1))
  scale_BGRL1 = 1 / jnp.sum(weights_BGRLM, axis=-1, keepdims=True)
  x_BGNK = jnp.einsum(
    "BGNM,BGMK->BGNK",
    weights_BGRLM.reshape(scores_BGNM.shape).astype(v_BMGK.dtype),
    v_BMGK.transpose(0, 2, 1, 3),
  )
  x_BGRLK = x_BGNK.reshape(q_BGRLK.shape) * scale_BGRL1.astype(x_BGNK.dtype)
  return x_BGRLK.transpose(0, 3, 1, 2, 4).reshape(q_BLHK.shape)


_BACKENDS = {"dense": _dense}
