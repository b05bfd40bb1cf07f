import jax.numpy as jnp
import numpy as np

from mlm_jax.models.positions import segments_and_positions


def test_positions_restart_at_each_segment():
  start, end, pad = 2, 3, 0
  rows = jnp.array(
    [
      [start, 9, end, start, 7, 7, end, pad, pad],
      [start, 9, 9, 9, 9, 9, 9, 9, end],
      [pad] * 9,
    ]
  )
  segments, positions = segments_and_positions(rows, start_id=start, pad_id=pad)
  np.testing.assert_array_equal(
    segments, [[1, 1, 1, 2, 2, 2, 2, 0, 0], [1] * 9, [0] * 9]
  )
  np.testing.assert_array_equal(positions[0, :7], [0, 1, 2, 0, 1, 2, 3])
  np.testing.assert_array_equal(positions[1], np.arange(9))
