"""The documents of packed rows."""

from __future__ import annotations

from typing import NamedTuple

from mlm_jax.data.corruption.primitives.random import RowRandom
from mlm_jax.data.corruption.primitives.row_ops import (
  compact,
  cumulative_sum,
  gather,
)
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.vocabulary import Vocabulary


class Documents(NamedTuple):
  """The documents (or pieces of documents) of rows, numbered from 0 in each.

  Attributes:
    number_BL: the document of each token; padding has the last one's.
    inside_BL: whether a token is between its document's start and end.
    begins_BM: the position after each document's start, 0 past the last.
    sizes_BM: the number of tokens between start and end, 0 past the last.
  """

  number_BL: tf.Tensor
  inside_BL: tf.Tensor
  begins_BM: tf.Tensor
  sizes_BM: tf.Tensor

  def gather(self, values_BM: tf.Tensor) -> tf.Tensor:
    """Returns [B, L], the value of each token's document."""
    return gather(values_BM, self.number_BL)

  def bits(self, random: RowRandom) -> tf.Tensor:
    """Returns uint32 [B, M], random bits for each document."""
    return random.bits(self.sizes_BM.shape[1])


def find_documents(rows_BL: tf.Tensor, vocab: Vocabulary) -> Documents:
  """Returns the documents of rows where each start is followed by its end."""
  length = rows_BL.shape[1]
  is_start_BL, is_end_BL = rows_BL == vocab.start_id, rows_BL == vocab.end_id
  number_BL = cumulative_sum(is_start_BL) - 1
  index_BL = tf.broadcast_to(tf.range(length), tf.shape(rows_BL))
  # The smallest document is a start and an end.
  max_documents = length // 2 + 1
  begins_BM = compact(index_BL + 1, is_start_BL, max_documents, 0)
  ends_BM = compact(index_BL, is_end_BL, max_documents, 0)
  specials = (vocab.start_id, vocab.end_id, vocab.pad_id)
  return Documents(
    number_BL=tf.maximum(number_BL, 0),
    inside_BL=tf.reduce_all([rows_BL != i for i in specials], axis=0),
    begins_BM=begins_BM,
    sizes_BM=tf.maximum(ends_BM - begins_BM, 0),
  )
