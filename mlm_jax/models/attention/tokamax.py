"""Hopper and Blackwell: the Mosaic kernel of tokamax, where that is installed.

What a query sees is one interval of keys. Forward, blocks of keys that nobody
sees are skipped; backward, they are masked. The intervals are not in tokamax's
public function, so its modules are imported here.
"""

import jax
import jax.numpy as jnp

from mlm_jax.models.attention.seen import Seen
from mlm_jax.models.platform import per_device, platform

SERVES = {"across", "causal", "prefix", "window"}


def refusal(q_BLHK: jax.Array, k_BMGK: jax.Array, seen: Seen) -> str:
  try:
    # Takes a second, and is none of the dependencies.
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
  q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGK: jax.Array, seen: Seen
) -> jax.Array:
  """Serves by the interval of keys of each query."""
  axes = ("batch", "length", "heads", "kv")
  return per_device(_call, axes)(q_BLHK, k_BMGK, v_BMGK, *intervals(seen))


def intervals(seen: Seen) -> tuple[jax.Array, jax.Array]:
  """Returns int32 [B, L] twice: each query's first key, and the first past it.

  Documents lie one after another, and prefixes at their starts. A query that
  sees nothing is given one key: kernels may make NaNs of none.
  """
  last = seen.segments_BM.shape[1] - 1
  index_M = jnp.arange(last + 1, dtype=jnp.int32)
  # XLA reduces the mask while it makes it.
  mask_BLM = seen.mask_BLM
  first_BL = jnp.min(jnp.where(mask_BLM, index_M, last), axis=2)
  last_BL = jnp.max(jnp.where(mask_BLM, index_M, first_BL[..., None]), axis=2)
  return first_BL, last_BL + 1


def _call(q_BLHK, k_BMGK, v_BMGK, starts_BL, ends_BL):
  from tokamax._src.ops.attention import base, pallas_mosaic_gpu

  kernel = pallas_mosaic_gpu.PallasMosaicGpuFlashAttention()
  mask = base.Mask(k_start=starts_BL[:, None], k_end=ends_BL[:, None])
  return kernel(q_BLHK, k_BMGK, v_BMGK, mask=mask)
