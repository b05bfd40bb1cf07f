"""All pairs of queries and keys, in plain XLA."""

import jax
import jax.numpy as jnp

from mlm_jax.models.attention.mask import AttentionMask

SUPPORTS = {
  "cross attention",
  "causal mask",
  "prefix",
  "window",
  "ALiBi slopes",
  "additive bias",
}


def why_unsupported(
  q_BLHK: jax.Array, k_BMGK: jax.Array, mask: AttentionMask
) -> str:
  return ""


def attend(
  q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGK: jax.Array, mask: AttentionMask
) -> jax.Array:
  """Scores all pairs; softmax in float32 (Vaswani et al. 2017)."""
  batch_size, length, num_heads, head_width = q_BLHK.shape
  kv_heads = k_BMGK.shape[2]
  by_group = (batch_size, length, kv_heads, num_heads // kv_heads, head_width)
  # The queries that share a key are the Q rows of one matrix.
  q_BGRLK = (
    (q_BLHK * head_width**-0.5).reshape(by_group).transpose(0, 2, 3, 1, 4)
  )
  scores_BGQM = jnp.einsum(
    "BGQK,BGMK->BGQM",
    q_BGRLK.reshape(batch_size, kv_heads, -1, head_width),
    k_BMGK.transpose(0, 2, 1, 3),
    preferred_element_type=jnp.float32,
  )
  scores_BGRLM = scores_BGQM.reshape(*q_BGRLK.shape[:-1], -1)
  if mask.slopes_H is not None:
    slopes_GR11 = mask.slopes_H.reshape(kv_heads, -1, 1, 1)
    scores_BGRLM -= slopes_GR11 * jnp.abs(mask.distance_LM)
  if mask.bias_HLM is not None:
    scores_BGRLM += mask.bias_HLM.reshape(scores_BGRLM.shape[1:])
  scores_BGRLM = jnp.where(mask.visible_BLM[:, None, None], scores_BGRLM, -1e30)
  # The softmax divides the K numbers of each output, not its M weights.
  highest_BGRL1 = jnp.max(scores_BGRLM, axis=-1, keepdims=True)
  weights_BGRLM = jnp.exp(scores_BGRLM - jax.lax.stop_gradient(highest_BGRL1))
  scale_BGRL1 = 1 / jnp.sum(weights_BGRLM, axis=-1, keepdims=True)
  x_BGQK = jnp.einsum(
    "BGQM,BGMK->BGQK",
    weights_BGRLM.reshape(scores_BGQM.shape).astype(v_BMGK.dtype),
    v_BMGK.transpose(0, 2, 1, 3),
  )
  x_BGRLK = x_BGQK.reshape(q_BGRLK.shape) * scale_BGRL1.astype(x_BGQK.dtype)
  return x_BGRLK.transpose(0, 3, 1, 2, 4).reshape(q_BLHK.shape)
