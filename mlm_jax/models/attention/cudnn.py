"""NVIDIA GPUs: cuDNN's fused attention, through JAX's bindings.

cuDNN calls it a packed layout where sequences, here documents, lie one after
another in a row. JAX binds that in a private module only; without it, masks are
used.
"""

import functools

import jax
import jax.numpy as jnp

from mlm_jax.models.attention import chunked
from mlm_jax.models.attention.mask import AttentionMask
from mlm_jax.models.attention.sharding import per_device
from mlm_jax.models.platform import platform

try:
  from jax._src.cudnn import fused_attention_stablehlo as fused
except ImportError:
  fused = None

SUPPORTS = {"cross attention", "causal mask", "prefix", "window"}

# A mask is an array of all pairs of tokens: too large for longer rows.
_MAX_MASKED_LENGTH = 1024


def why_unsupported(
  q_BLHK: jax.Array, k_BMGK: jax.Array, mask: AttentionMask
) -> str:
  if platform() != "gpu":
    return "needs an NVIDIA GPU"
  if q_BLHK.dtype not in (jnp.bfloat16, jnp.float16):
    return f"computes in bfloat16 or float16, not {q_BLHK.dtype}"
  head_width = q_BLHK.shape[-1]
  if head_width % 8 or head_width > 128:
    return f"supports head widths 8, 16, ... 128, not {head_width}"
  lengths = q_BLHK.shape[1], k_BMGK.shape[1]
  if not _is_packable(mask) and (
    max(lengths) > _MAX_MASKED_LENGTH or any(length % 2 for length in lengths)
  ):
    return (
      "supports this mask on this GPU only for rows of an even length, up to "
      f"{_MAX_MASKED_LENGTH} tokens"
    )
  return ""


def attend(
  q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGK: jax.Array, mask: AttentionMask
) -> jax.Array:
  """Uses the packed layout where it is possible, else an array as mask."""
  axes = ("batch", "length", "heads", "kv")
  if _is_packable(mask):
    call = functools.partial(_attend_packed, mask.causal)
    arrays = q_BLHK, k_BMGK, v_BMGK, mask.segment_ids_BL, mask.segment_ids_BM
    return per_device(call, axes)(*arrays)
  return jax.nn.dot_product_attention(
    q_BLHK,
    k_BMGK,
    v_BMGK,
    mask=mask.visible_BLM[:, None],
    implementation="cudnn",
  )


def _is_packable(mask):
  # The packed layout needs a Hopper GPU.
  hopper = fused is not None and fused.check_compute_capability("9.0")
  return hopper and not mask.features - {"causal mask"}


def documents(
  segment_ids_BL: jax.Array, max_documents: int
) -> tuple[jax.Array, jax.Array]:
  """Returns the layout of packed rows, padding being one of the documents.

  Returns:
    int32 [B, S], the length of each document, and int32 [B, S + 1], where each
    starts, S being `max_documents`; -1 past the last. So the last start is -1
    unless the row has more documents.
  """
  length = segment_ids_BL.shape[1]
  is_start_BL = jnp.diff(segment_ids_BL, axis=1, prepend=-1) != 0
  find = lambda is_start_L: jnp.nonzero(
    is_start_L, size=max_documents + 1, fill_value=length
  )[0]
  starts_BS = jax.vmap(find)(is_start_BL).astype(jnp.int32)
  lengths_BS = jnp.diff(starts_BS, axis=1)
  return (
    jnp.where(lengths_BS > 0, lengths_BS, -1),
    jnp.where(starts_BS < length, starts_BS, -1),
  )


def _attend_packed(causal, q_BLHK, k_BLGK, v_BLGK, segment_ids_BL, _):
  """Runs the packed kernel, which is built for a limited number of documents.

  The memory it keeps for the gradient grows with that number. Rows with more
  documents, which are rare, are computed in chunks.
  """
  length, shared = q_BLHK.shape[1], q_BLHK.shape[2] // k_BLGK.shape[2]
  max_documents = max(16, length // 128) + 1
  lengths_BS, starts_BS = documents(segment_ids_BL, max_documents)
  masks = fused.MaskType

  def packed(q_BLHK, k_BLGK, v_BLGK):
    # JAX 0.10 computes the offsets of keys from the number of query heads.
    k_BLHK, v_BLHK = (jnp.repeat(x, shared, axis=2) for x in (k_BLGK, v_BLGK))
    return fused.dot_product_attention(
      q_BLHK,
      k_BLHK,
      v_BLHK,
      bias=None,
      mask=None,
      q_seqlen=lengths_BS,
      kv_seqlen=lengths_BS,
      q_offsets=starts_BS,
      kv_offsets=starts_BS,
      scale=q_BLHK.shape[-1] ** -0.5,
      mask_type=masks.PADDING_CAUSAL if causal else masks.PADDING,
    )

  def in_chunks(q_BLHK, k_BLGK, v_BLGK):
    mask = AttentionMask(segment_ids_BL, causal=causal)
    return chunked.attend(q_BLHK, k_BLGK, v_BLGK, mask)

  fits = jnp.all(starts_BS[:, -1] == -1)
  return jax.lax.cond(fits, packed, in_chunks, q_BLHK, k_BLGK, v_BLGK)
