"""TPUs: JAX's splash attention, a kernel that skips fully masked blocks."""

import functools

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash

from mlm_jax.models.attention.mask import ATTENTION_OUTPUT, AttentionMask
from mlm_jax.models.attention.sharding import per_device
from mlm_jax.models.platform import platform

SUPPORTS = {"cross attention", "causal mask", "window"}

# Block lengths of queries and keys; 128 is slow. With a window, most of a block
# of 512 is outside of it.
_BLOCKS = 512, 256, 128
_WINDOW_BLOCKS = _BLOCKS[1:]


def why_unsupported(
  q_BLHK: jax.Array, k_BMGK: jax.Array, mask: AttentionMask
) -> str:
  # On CPU it is interpreted, for tests.
  return "needs a TPU" if platform() == "gpu" else ""


def attend(
  q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGK: jax.Array, mask: AttentionMask
) -> jax.Array:
  """Pads rows to whole blocks; the padding is in no document."""
  length = q_BLHK.shape[1]
  q_BHLK = _pad(q_BLHK * q_BLHK.shape[-1] ** -0.5).swapaxes(1, 2)
  k_BGMK, v_BGMK = (_pad(x).swapaxes(1, 2) for x in (k_BMGK, v_BMGK))
  segment_ids_BL = _pad(mask.segment_ids_BL, fill=-1)
  segment_ids_BM = _pad(mask.segment_ids_BM, fill=-1)
  shape = q_BHLK.shape[2], k_BGMK.shape[2]
  call = functools.partial(_call, shape, mask.causal, mask.window)
  x_BHLK = per_device(call, ("batch", "heads", "length", "kv"))(
    q_BHLK, k_BGMK, v_BGMK, segment_ids_BL, segment_ids_BM
  )
  return x_BHLK.swapaxes(1, 2)[:, :length]


def _call(
  shape, causal, window, q_BHLK, k_BGMK, v_BGMK, segment_ids_BL, segment_ids_BM
):
  """Maps the kernel over rows, and over groups of heads that share keys."""
  num_heads, kv_heads = q_BHLK.shape[1], k_BGMK.shape[1]
  shared = num_heads // kv_heads
  if shared > 1:
    make, kernel_heads = splash.make_splash_mqa, shared
    q_BHLK = q_BHLK.reshape(-1, kv_heads, shared, *q_BHLK.shape[2:])
  else:
    make, kernel_heads = splash.make_splash_mha, num_heads
  kernel = make(
    splash.MultiHeadMask([_splash_mask(shape, causal, window)] * kernel_heads),
    head_shards=1,
    q_seq_shards=1,
    block_sizes=block_sizes(*shape, window),
    residual_checkpoint_name=ATTENTION_OUTPUT,
    interpret=platform() != "tpu",
  )
  over_rows = jax.vmap(kernel)
  if shared > 1:
    of_row = lambda q, k, v, s: jax.vmap(lambda *qkv: kernel(*qkv, s))(q, k, v)
    over_rows = jax.vmap(of_row)
  x = over_rows(
    q_BHLK, k_BGMK, v_BGMK, splash.SegmentIds(segment_ids_BL, segment_ids_BM)
  )
  return x.reshape(-1, num_heads, *x.shape[-2:])


def _splash_mask(shape, causal, window):
  if window:
    mask = splash.LocalMask(shape, (window // 2, window // 2), 0)
    return mask & splash.CausalMask(shape) if causal else mask
  return splash.CausalMask(shape) if causal else splash.FullMask(shape)


def block_sizes(
  length: int, num_keys: int, window: int = 0
) -> splash.BlockSizes:
  """Returns the block sizes for padded rows, the same forward and backward."""
  sizes = _WINDOW_BLOCKS if 0 < window <= _WINDOW_BLOCKS[0] else _BLOCKS
  q_block, kv_block = (
    next(size for size in sizes if n % size == 0) for n in (length, num_keys)
  )
  # The fused backward kernel keeps a partial dQ for each block of keys; two
  # separate ones do not.
  fused = num_keys <= 2 * kv_block
  return splash.BlockSizes(
    block_q=q_block,
    block_kv=kv_block,
    block_q_dkv=q_block,
    block_kv_dkv=kv_block,
    block_q_dq=None if fused else q_block,
    block_kv_dq=None if fused else kv_block,
    use_fused_bwd_kernel=fused,
  )


def _pad(x_BL, fill=0):
  length = x_BL.shape[1]
  sizes = [(0, 0), (0, -length % _BLOCKS[-1])] + [(0, 0)] * (x_BL.ndim - 2)
  return jnp.pad(x_BL, sizes, constant_values=fill)
