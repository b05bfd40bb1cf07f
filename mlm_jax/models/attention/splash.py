"""TPUs: JAX's splash attention, a kernel that skips blocks nobody sees."""

import functools

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash

from mlm_jax.models.attention.seen import ATTENDED, Seen
from mlm_jax.models.platform import per_device, platform

SERVES = {"across", "causal", "window"}

# Of queries and keys; those of 128 are slow. Around a window, those of 512 are
# mostly outside of it.
_BLOCKS = 512, 256, 128
_WINDOW_BLOCKS = _BLOCKS[1:]


def refusal(q_BLHK: jax.Array, k_BMGK: jax.Array, seen: Seen) -> str:
  # Elsewhere it is interpreted, for tests.
  return "needs a TPU" if platform() == "gpu" else ""


def attend(
  q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGK: jax.Array, seen: Seen
) -> jax.Array:
  """Fills rows up to whole blocks; what fills them is in no document."""
  length = q_BLHK.shape[1]
  q_BHLK = _whole(q_BLHK * q_BLHK.shape[-1] ** -0.5).swapaxes(1, 2)
  k_BGMK, v_BGMK = (_whole(x).swapaxes(1, 2) for x in (k_BMGK, v_BMGK))
  segments_BL = _whole(seen.segments_BL, fill=-1)
  segments_BM = _whole(seen.segments_BM, fill=-1)
  shape = q_BHLK.shape[2], k_BGMK.shape[2]
  call = functools.partial(_call, shape, seen.causal, seen.window)
  x_BHLK = per_device(call, ("batch", "heads", "length", "kv"))(
    q_BHLK, k_BGMK, v_BGMK, segments_BL, segments_BM
  )
  return x_BHLK.swapaxes(1, 2)[:, :length]


def _call(
  shape, causal, window, q_BHLK, k_BGMK, v_BGMK, segments_BL, segments_BM
):
  """Runs the kernel over rows, and over groups of heads that share keys."""
  (_, num_heads, *_), kv_heads = q_BHLK.shape, k_BGMK.shape[1]
  mask = splash.FullMask(shape)
  if window:
    mask = splash.LocalMask(shape, (window // 2, window // 2), 0)
  if causal:
    mask = (
      mask & splash.CausalMask(shape) if window else splash.CausalMask(shape)
    )
  of_group = num_heads // kv_heads
  make, heads = splash.make_splash_mha, num_heads
  if of_group > 1:
    make, heads = splash.make_splash_mqa, of_group
    q_BHLK = q_BHLK.reshape(-1, kv_heads, of_group, *q_BHLK.shape[2:])
  kernel = make(
    splash.MultiHeadMask([mask] * heads),
    head_shards=1,
    q_seq_shards=1,
    block_sizes=block_sizes(*shape, window),
    residual_checkpoint_name=ATTENDED,
    interpret=platform() != "tpu",
  )
  over_rows = jax.vmap(kernel)
  if of_group > 1:
    of_row = lambda q, k, v, s: jax.vmap(lambda *qkv: kernel(*qkv, s))(q, k, v)
    over_rows = jax.vmap(of_row)
  x = over_rows(
    q_BHLK, k_BGMK, v_BGMK, splash.SegmentIds(segments_BL, segments_BM)
  )
  return x.reshape(-1, num_heads, *x.shape[-2:])


def block_sizes(
  length: int, num_keys: int, window: int = 0
) -> splash.BlockSizes:
  """Returns the blocks of whole rows, the same in both directions."""
  sizes = _WINDOW_BLOCKS if 0 < window <= _WINDOW_BLOCKS[0] else _BLOCKS
  q_block, kv_block = (
    next(size for size in sizes if n % size == 0) for n in (length, num_keys)
  )
  # One backward kernel keeps partial dQ for each block of keys; two do not.
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


def _whole(x_BL, fill=0):
  length = x_BL.shape[1]
  sizes = [(0, 0), (0, -length % _BLOCKS[-1])] + [(0, 0)] * (x_BL.ndim - 2)
  return jnp.pad(x_BL, sizes, constant_values=fill)
