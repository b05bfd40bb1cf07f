"""Random numbers of rows."""

import numpy as np
import pytest
import tensorflow as tf

from mlm_jax.data.corruption.primitives.random import (
  RowRandom,
  philox,
  threshold,
  uniform_int,
)


@pytest.mark.parametrize(
  "key, first, stream",
  [
    (0, 0, 0),
    (1, 2**32 - 50, 7),
    (2**64 - 1, 2**63 + 12_345, 2**64 - 1),
    (0x123456789ABCDEF, 2**40, 2**33 + 1),
  ],
)
def test_philox_is_that_of_tensorflow(key, first, stream):
  expected = tf.raw_ops.StatelessRandomUniformFullIntV2(
    shape=[100, 4],
    key=tf.constant([key], tf.uint64),
    counter=tf.constant([first, stream], tf.uint64),
    alg=1,
    dtype=tf.uint32,
  )
  np.testing.assert_array_equal(philox(key, first, stream, 100), expected)


def test_numbers_of_a_row_depend_on_its_position_alone():
  whole = RowRandom(3, 1_000, 10)
  parts = [RowRandom(3, 1_000, 4), RowRandom(3, 1_004, 6)]
  for width in (1, 6, 8, 33):
    expected = whole.bits(width)
    found = np.concatenate([part.bits(width) for part in parts])
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(expected)) == expected.size


def test_integers_and_thresholds_reach_both_ends():
  bits = np.array([0, 2**31, 2**32 - 1], np.uint32)
  assert uniform_int(10, bits).tolist() == [0, 5, 9]
  bounds = np.array([1, 7, 2**31 - 1], np.int32)
  assert uniform_int(bounds, bits).tolist() == [0, 3, 2**31 - 2]
  assert (bits < threshold(1.0)).all() and not (bits < threshold(0.0)).any()
  assert (bits < threshold(0.5)).tolist() == [True, False, False]
