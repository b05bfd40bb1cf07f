"""What a packed row says about itself."""

import jax
import jax.numpy as jnp


def segments_and_positions(
  ids_BL: jax.Array, *, start_id: int, pad_id: int
) -> tuple[jax.Array, jax.Array]:
  """Returns the document and the place in it of each token of packed rows.

  Every piece of a document opens with `start_id`, which corruption neither
  hides nor makes, so the corrupted row tells as much as the original.

  Returns:
    segment_ids int32 [B, L]: 1, 2, ... by piece, 0 for padding; positions int32
    [B, L]: 0 at each start.
  """
  length = ids_BL.shape[1]
  starts_BL = ids_BL == start_id
  index_BL = jnp.broadcast_to(jnp.arange(length), ids_BL.shape)
  last_start_BL = jax.lax.cummax(jnp.where(starts_BL, index_BL, 0), axis=1)
  segment_ids_BL = jnp.cumsum(starts_BL, axis=1, dtype=jnp.int32)
  segment_ids_BL = jnp.where(ids_BL == pad_id, 0, segment_ids_BL)
  return segment_ids_BL, index_BL - last_start_BL
