import jax.numpy as jnp
import numpy as np

from mlm_jax.models.positions import segments_and_positions
from mlm_jax.vocabulary import Vocabulary


def test_positions_restart_at_each_segment():
  vocab = Vocabulary(
    size=10, pad_id=0, unk_id=1, start_id=2, end_id=3, mask_id=4
  )
  start, end, pad = vocab.start_id, vocab.end_id, vocab.pad_id
  rows = jnp.array(
    [
      [start, 9, end, start, 7, 7, end, pad, pad],
      [start, 9, 9, 9, 9, 9, 9, 9, end],
      [pad] * 9,
    ]
  )
  segments, positions = segments_and_positions(rows, vocab)
  np.testing.assert_array_equal(
    segments, [[1, 1, 1, 2, 2, 2, 2, 0, 0], [1] * 9, [0] * 9]
  )
  np.testing.assert_array_equal(positions[0, :7], [0, 1, 2, 0, 1, 2, 3])
  np.testing.assert_array_equal(positions[1], np.arange(9))
