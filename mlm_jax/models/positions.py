"""Token positions within documents, and their encodings for attention."""

import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax.config import EncoderConfig
from mlm_jax.vocabulary import Vocabulary


def segments_and_positions(
  ids_BL: jax.Array, vocab: Vocabulary
) -> tuple[jax.Array, jax.Array]:
  """Returns the document and the position in it of each token of packed rows.

  Every piece of a document opens with the start token, which corruption neither
  removes nor inserts, so a corrupted row gives the same answer.

  Returns:
    segment_ids int32 [B, L]: 1, 2, ... by piece, 0 for padding; positions int32
    [B, L]: 0 at each start.
  """
  length = ids_BL.shape[1]
  starts_BL = ids_BL == vocab.start_id
  index_BL = jnp.broadcast_to(jnp.arange(length), ids_BL.shape)
  last_start_BL = jax.lax.cummax(jnp.where(starts_BL, index_BL, 0), axis=1)
  segment_ids_BL = jnp.cumsum(starts_BL, axis=1, dtype=jnp.int32)
  segment_ids_BL = jnp.where(ids_BL == vocab.pad_id, 0, segment_ids_BL)
  return segment_ids_BL, index_BL - last_start_BL


def rotate(
  x_BLHK: jax.Array, positions_BL: jax.Array, theta: float
) -> jax.Array:
  """Returns x with rotary position embeddings (Su et al. 2021).

  The first half of a head is paired with the second.

  Args:
    x_BLHK: queries or keys.
    positions_BL: the position of each token in its document, less than L.
    theta: the base of the frequencies.
  """
  length, half = x_BLHK.shape[1], x_BLHK.shape[-1] // 2
  frequencies_J = theta ** (-jnp.arange(half) / half)
  angles_LJ = jnp.arange(length)[:, None] * frequencies_J
  # Gathered, and so computed once: XLA would fuse sines of `positions_BL` into
  # their uses, again for each head, which took a tenth of a step on CPU.
  cos_BL1J = jnp.cos(angles_LJ)[positions_BL][:, :, None]
  sin_BL1J = jnp.sin(angles_LJ)[positions_BL][:, :, None]
  a_BLHJ, b_BLHJ = jnp.split(x_BLHK.astype(jnp.float32), 2, axis=-1)
  rotated_BLHK = jnp.concatenate(
    [
      a_BLHJ * cos_BL1J - b_BLHJ * sin_BL1J,
      b_BLHJ * cos_BL1J + a_BLHJ * sin_BL1J,
    ],
    axis=-1,
  )
  return rotated_BLHK.astype(x_BLHK.dtype)


def alibi_slopes(num_heads: int) -> np.ndarray:
  """Returns float32 [H], a geometric sequence (Press et al. 2022).

  It starts at its ratio, 2^(-8/H). If H is not a power of two, the slopes of
  the power of two below it come first, then every other slope of the one above.
  """
  below = 1 << (num_heads.bit_length() - 1)
  slopes = 2.0 ** (-8 * np.arange(1, below + 1) / below)
  between = 2.0 ** (-4 * np.arange(1, 2 * below + 1, 2) / below)
  both = np.concatenate([slopes, between])
  return both[:num_heads].astype(np.float32)


def relative_buckets(
  config: EncoderConfig, length: int, causal: bool
) -> np.ndarray:
  """Returns int [L, L], the bucket of each query's distance to each key.

  Half of the buckets hold one distance each, the others ranges that grow
  geometrically; without a causal mask, each direction has half of all buckets
  (Raffel et al. 2020).
  """
  # The key's position minus the query's.
  offset_LM = np.arange(length) - np.arange(length)[:, None]
  if causal:
    buckets, distance_LM = config.relative_buckets, np.maximum(-offset_LM, 0)
  else:
    buckets, distance_LM = config.relative_buckets // 2, np.abs(offset_LM)
  single = buckets // 2
  growth = np.log(np.maximum(distance_LM, 1) / single)
  growth /= np.log(config.relative_distance / single)
  far_LM = single + (growth * (buckets - single)).astype(np.int32)
  bucket_LM = np.where(
    distance_LM < single, distance_LM, np.minimum(far_LM, buckets - 1)
  )
  return bucket_LM + np.where((offset_LM > 0) & (not causal), buckets, 0)
