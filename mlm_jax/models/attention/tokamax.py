"""Hopper and Blackwell GPUs: tokamax's Mosaic kernel, if it is installed.

The kernel takes one interval of keys for each query. Forward, it skips blocks
of keys that no query attends to; backward, it masks them. tokamax's public
function does not take intervals, so its private modules are imported here.
"""

import jax
import jax.numpy as jnp

from mlm_jax.models.attention.mask import AttentionMask
from mlm_jax.models.attention.sharding import per_device
from mlm_jax.models.platform import platform

SUPPORTS = {"cross attention", "causal mask", "prefix", "window"}


def why_unsupported(
  q_BLHK: jax.Array, k_BMGK: jax.Array, mask: AttentionMask
) -> str:
  try:
    # The import takes a second, and tokamax is not one of our dependencies.
    from tokamax._src import gpu_utils
  except ImportError:
    return "needs the package tokamax (Python 3.12): pip install tokamax"
  has_kernel = gpu_utils.is_sm90() or gpu_utils.is_sm100()
  if platform() != "gpu" or not has_kernel:
    return "needs an NVIDIA GPU, Hopper or Blackwell"
  if q_BLHK.dtype not in (jnp.bfloat16, jnp.float16):
    return f"computes in bfloat16 or float16, not {q_BLHK.dtype}"
  return ""


def attend(
  q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGK: jax.Array, mask: AttentionMask
) -> jax.Array:
  """Runs the kernel on the interval of keys of each query."""
  axes = ("batch", "length", "heads", "kv")
  return per_device(_call, axes)(q_BLHK, k_BMGK, v_BMGK, *intervals(mask))


def intervals(mask: AttentionMask) -> tuple[jax.Array, jax.Array]:
  """Returns each query's first visible key and the first one past the last.

  The visible keys are one interval, because documents are contiguous and
  prefixes stand at their starts. A query without visible keys gets one key:
  kernels may compute NaNs from none.

  Returns:
    int32 [B, L] each.
  """
  last = mask.segment_ids_BM.shape[1] - 1
  index_M = jnp.arange(last + 1, dtype=jnp.int32)
  # XLA fuses the mask into the reductions.
  visible_BLM = mask.visible_BLM
  first_BL = jnp.min(jnp.where(visible_BLM, index_M, last), axis=2)
  last_BL = jnp.max(
    jnp.where(visible_BLM, index_M, first_BL[..., None]), axis=2
  )
  return first_BL, last_BL + 1


def _call(q_BLHK, k_BMGK, v_BMGK, starts_BL, ends_BL):
  from tokamax._src.ops.attention import base, pallas_mosaic_gpu

  kernel = pallas_mosaic_gpu.PallasMosaicGpuFlashAttention()
  mask = base.Mask(k_start=starts_BL[:, None], k_end=ends_BL[:, None])
  return kernel(q_BLHK, k_BMGK, v_BMGK, mask=mask)
