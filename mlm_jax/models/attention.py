"""Self-attention within the documents of packed rows: one function, many kernels.

`attention` is the only way in. A backend is one entry in `_BACKENDS`; which one
serves is decided while tracing.
"""

import jax
import jax.numpy as jnp

from mlm_jax.config import unknown


def attention(
  q_BLHK: jax.Array,
  k_BMHK: jax.Array,
  v_BMHK: jax.Array,
  *,
  segment_ids_BL: jax.Array,
  impl: str = "auto",
) -> jax.Array:
  """Returns what each token gathers from the tokens of its own document.

  Args:
    q_BLHK: queries.
    k_BMHK: keys.
    v_BMHK: values.
    segment_ids_BL: the document of each token; padding (0) sees padding alone.
    impl: the backend, or "auto".

  Raises:
    InputError: no such backend.
  """
  if impl == "auto":
    impl = "dense"
  if impl not in _BACKENDS:
    raise unknown("attention backend", impl, ["auto", *_BACKENDS])
  return _BACKENDS[impl](q_BLHK, k_BMHK, v_BMHK, segment_ids_BL)


def _dense(q_BLHK, k_BMHK, v_BMHK, segment_ids_BL):
  """Scores all pairs; softmax in float32 (Vaswani et al. 2017)."""
  scale = q_BLHK.shape[-1] ** -0.5
  scores_BHLM = jnp.einsum(
    "BLHK,BMHK->BHLM",
    q_BLHK * scale,
    k_BMHK,
    preferred_element_type=jnp.float32,
  )
  together_BLM = segment_ids_BL[:, :, None] == segment_ids_BL[:, None, :]
  scores_BHLM = jnp.where(together_BLM[:, None], scores_BHLM, -1e30)
  weights_BHLM = jax.nn.softmax(scores_BHLM, axis=-1).astype(v_BMHK.dtype)
  return jnp.einsum("BHLM,BMHK->BLHK", weights_BHLM, v_BMHK)


_BACKENDS = {"dense": _dense}
