"""All pairs of queries and keys, in plain XLA."""

import jax
import jax.numpy as jnp

from mlm_jax.models.attention.seen import Seen

SERVES = {"across", "causal", "prefix", "window", "slopes", "bias"}


def refusal(q_BLHK: jax.Array, k_BMGK: jax.Array, seen: Seen) -> str:
  return ""


def attend(
  q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGK: jax.Array, seen: Seen
) -> jax.Array:
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
  if seen.slopes_H is not None:
    slopes_GR11 = seen.slopes_H.reshape(kv_heads, -1, 1, 1)
    scores_BGRLM -= slopes_GR11 * jnp.abs(seen.after_LM)
  if seen.bias_HLM is not None:
    scores_BGRLM += seen.bias_HLM.reshape(scores_BGRLM.shape[1:])
  scores_BGRLM = jnp.where(seen.mask_BLM[:, None, None], scores_BGRLM, -1e30)
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
