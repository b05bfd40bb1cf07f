"""Self-attention within the documents of packed rows: one function, many kernels.

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
  window: int = 0,
  slopes_H: jax.Array | None = None,
  impl: str = "auto",
) -> jax.Array:
  """Returns what each token gathers from the tokens of its own document.

  Args:
    q_BLHK: queries.
    k_BMGK: keys; each of them serves H / G heads, neighbours of each other.
    v_BMGK: values.
    segment_ids_BL: the document of each token; padding (0) sees padding alone.
    window: how many tokens around it a token sees, half to either side; 0 is
      all of its document.
    slopes_H: what a score loses by each token of distance; None is nothing.
    impl: the backend, or "auto".

  Raises:
    InputError: no such backend.
  """
  if impl == "auto":
    impl = "dense"
  if impl not in _BACKENDS:
    raise unknown("attention backend", impl, ["auto", *_BACKENDS])
  return _BACKENDS[impl](
    q_BLHK, k_BMGK, v_BMGK, segment_ids_BL, window, slopes_H
  )


def _dense(q_BLHK, k_BMGK, v_BMGK, segment_ids_BL, window, slopes_H):
  """Scores all pairs; softmax in float32 (Vaswani et al. 2017)."""
  kv_heads, head_width = k_BMGK.shape[2:]
  by_group = (*q_BLHK.shape[:2], kv_heads, -1, head_width)
  scores_BGRLM = jnp.einsum(
    "BLGRK,BMGK->BGRLM",
    (q_BLHK * head_width**-0.5).reshape(by_group),
    k_BMGK,
    preferred_element_type=jnp.float32,
  )
  index_L = jnp.arange(q_BLHK.shape[1])
  distance_LM = jnp.abs(index_L[:, None] - index_L)
  if slopes_H is not None:
    slopes_GR11 = slopes_H.reshape(kv_heads, -1, 1, 1)
    scores_BGRLM -= slopes_GR11 * distance_LM
  seen_BLM = segment_ids_BL[:, :, None] == segment_ids_BL[:, None, :]
  if window:
    seen_BLM &= distance_LM <= window // 2
  scores_BGRLM = jnp.where(seen_BLM[:, None, None], scores_BGRLM, -1e30)
  weights_BGRLM = jax.nn.softmax(scores_BGRLM, axis=-1).astype(v_BMGK.dtype)
  x_BLGRK = jnp.einsum("BGRLM,BMGK->BLGRK", weights_BGRLM, v_BMGK)
  return x_BLGRK.reshape(q_BLHK.shape)


_BACKENDS = {"dense": _dense}
