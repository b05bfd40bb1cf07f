"""Some queries at a time, in plain XLA: no memory for all scores at once."""

import dataclasses

import jax
import jax.numpy as jnp

from mlm_jax.models.attention import dense
from mlm_jax.models.attention.seen import Seen

SERVES = dense.SERVES

_QUERIES = 256


def refusal(q_BLHK: jax.Array, k_BMGK: jax.Array, seen: Seen) -> str:
  return ""


def attend(
  q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGK: jax.Array, seen: Seen
) -> jax.Array:
  """Scores a stretch of queries against all keys, and again for the gradient
  (Rabe and Staats 2021)."""
  length = q_BLHK.shape[1]

  def cut(x, axis, fill=0):
    """Returns x, cut into stretches of queries, which come first."""
    missing = [(0, 0)] * x.ndim
    missing[axis] = (0, -length % _QUERIES)
    x = jnp.pad(x, missing, constant_values=fill)
    shape = (*x.shape[:axis], -1, _QUERIES, *x.shape[axis + 1 :])
    return jnp.moveaxis(x.reshape(shape), axis, 0)

  def of_stretch(_, stretch):
    ahead, q_BLHK, segments_BL, bias_HLM = stretch
    part = dataclasses.replace(
      seen, segments_BL=segments_BL, bias_HLM=bias_HLM, ahead=ahead
    )
    return None, dense.attend(q_BLHK, k_BMGK, v_BMGK, part)

  bias_HLM = seen.bias_HLM
  stretches = (
    jnp.arange(0, length, _QUERIES),
    cut(q_BLHK, 1),
    # What fills the last one up is in no document.
    cut(seen.segments_BL, 1, fill=-1),
    None if bias_HLM is None else cut(bias_HLM, 1),
  )
  x_NBLHK = jax.lax.scan(jax.checkpoint(of_stretch), None, stretches)[1]
  x_BLHK = jnp.moveaxis(x_NBLHK, 0, 1).reshape(
    len(q_BLHK), -1, *q_BLHK.shape[2:]
  )
  return x_BLHK[:, :length]
