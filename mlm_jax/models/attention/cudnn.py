"""NVIDIA GPUs: cuDNN's fused attention, by JAX's bindings.

Documents that lie one after another in a row are what cuDNN calls packed. JAX
binds that in a private module alone; where it is missing, so is this mode.
"""

import functools

import jax
import jax.numpy as jnp

from mlm_jax.models.attention import chunked
from mlm_jax.models.attention.seen import Seen
from mlm_jax.models.platform import per_device, platform

try:
  from jax._src.cudnn import fused_attention_stablehlo as fused
except ImportError:
  fused = None

SERVES = {"across", "causal", "prefix", "window"}

# A mask is an array of all pairs: not for longer rows.
_MASKED_LENGTH = 1024


def refusal(q_BLHK: jax.Array, k_BMGK: jax.Array, seen: Seen) -> str:
  if platform() != "gpu":
    return "needs an NVIDIA GPU"
  if q_BLHK.dtype not in (jnp.bfloat16, jnp.float16):
    return f"computes in bfloat16 or float16, not {q_BLHK.dtype}"
  if q_BLHK.shape[-1] % 8 or q_BLHK.shape[-1] > 128:
    return f"takes heads of 8, 16, ... 128 numbers, not of {q_BLHK.shape[-1]}"
  lengths = q_BLHK.shape[1], k_BMGK.shape[1]
  if not _packs(seen) and (
    max(lengths) > _MASKED_LENGTH or any(length % 2 for length in lengths)
  ):
    return (
      f"serves windows, prefixes and another row's keys up to {_MASKED_LENGTH} "
      "tokens, an even number"
    )
  return ""


def attend(
  q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGK: jax.Array, seen: Seen
) -> jax.Array:
  """Serves by packed documents where it can, else by a mask."""
  axes = ("batch", "length", "heads", "kv")
  if _packs(seen):
    call = functools.partial(_by_documents, seen.causal)
    arrays = q_BLHK, k_BMGK, v_BMGK, seen.segments_BL, seen.segments_BM
    return per_device(call, axes)(*arrays)
  return jax.nn.dot_product_attention(
    q_BLHK,
    k_BMGK,
    v_BMGK,
    mask=seen.mask_BLM[:, None],
    implementation="cudnn",
  )


def _packs(seen):
  # Packed rows take Hopper.
  hopper = fused is not None and fused.check_compute_capability("9.0")
  return hopper and not seen.asks - {"causal"}


def documents(segments_BL: jax.Array, most: int) -> tuple[jax.Array, jax.Array]:
  """Returns int32 [B, most], the sizes of a row's documents, and int32
  [B, most + 1], where they begin; -1 past the last.

  Padding is one of them. The last beginning is -1, too, unless there are more.
  """
  length = segments_BL.shape[1]
  begins_BL = jnp.diff(segments_BL, axis=1, prepend=-1) != 0
  places = lambda begins_L: jnp.nonzero(
    begins_L, size=most + 1, fill_value=length
  )[0]
  places_BS = jax.vmap(places)(begins_BL).astype(jnp.int32)
  sizes_BS = jnp.diff(places_BS, axis=1)
  return (
    jnp.where(sizes_BS > 0, sizes_BS, -1),
    jnp.where(places_BS < length, places_BS, -1),
  )


def _by_documents(causal, q_BLHK, k_BLGK, v_BLGK, segments_BL, _):
  """Runs the packed kernel, unless a row has more documents than it is told.

  What it keeps for the gradient grows with that number. Rows with more of them,
  which are rare, are computed in chunks.
  """
  length, shared = q_BLHK.shape[1], q_BLHK.shape[2] // k_BLGK.shape[2]
  sizes_BS, offsets_BS = documents(segments_BL, max(16, length // 128) + 1)
  masks = fused.MaskType

  def packed(q_BLHK, k_BLGK, v_BLGK):
    # JAX 0.10 reckons where keys are in memory by the heads of queries.
    k_BLHK, v_BLHK = (jnp.repeat(x, shared, axis=2) for x in (k_BLGK, v_BLGK))
    return fused.dot_product_attention(
      *(q_BLHK, k_BLHK, v_BLHK, None, None),
      *(sizes_BS, sizes_BS, offsets_BS, offsets_BS),
      scale=q_BLHK.shape[-1] ** -0.5,
      mask_type=masks.PADDING_CAUSAL if causal else masks.PADDING,
    )

  def in_chunks(*qkv):
    return chunked.attend(*qkv, Seen(segments_BL, segments_BL, causal=causal))

  fits = jnp.all(offsets_BS[:, -1] == -1)
  return jax.lax.cond(fits, packed, in_chunks, q_BLHK, k_BLGK, v_BLGK)
