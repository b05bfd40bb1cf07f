"""The documents of packed rows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlm_jax.data.corruption.primitives.random import RowRandom
from mlm_jax.data.corruption.primitives.row_ops import (
  compact,
  cumulative_sum,
  gather,
  true_positions,
)
from mlm_jax.vocabulary import Vocabulary


class Documents(NamedTuple):
  """The documents (or pieces of documents) of rows, numbered from 0 in each.

  Attributes:
    number_BL: the document of each token; padding has the last one's.
    inside_BL: whether a token is between its document's start and end.
    begins_BM: the position after each document's start, 0 past the last.
    sizes_BM: the number of tokens between start and end, 0 past the last.
  """

  number_BL: np.ndarray
  inside_BL: np.ndarray
  begins_BM: np.ndarray
  sizes_BM: np.ndarray

  def gather(self, values_BM: np.ndarray) -> np.ndarray:
    """Returns [B, L], the value of each token's document."""
    return gather(values_BM, self.number_BL)

  def bits(self, random: RowRandom) -> np.ndarray:
    """Returns uint32 [B, M], random bits for each document."""
    return random.bits(self.sizes_BM.shape[1])


def find_documents(rows_BL: np.ndarray, vocab: Vocabulary) -> Documents:
  """Returns the documents of rows where each start is followed by its end."""
  length = rows_BL.shape[1]
  is_start_BL, is_end_BL = rows_BL == vocab.start_id, rows_BL == vocab.end_id
  number_BL = cumulative_sum(is_start_BL) - 1
  index_BL = np.broadcast_to(np.arange(length, dtype=np.int32), rows_BL.shape)
  # The smallest document is a start and an end.
  max_documents = length // 2 + 1
  begins_BM = compact(index_BL + 1, is_start_BL, max_documents, 0)
  ends_BM = true_positions(is_end_BL, max_documents)
  return Documents(
    number_BL=np.maximum(number_BL, 0),
    inside_BL=~(is_start_BL | is_end_BL | (rows_BL == vocab.pad_id)),
    begins_BM=begins_BM,
    sizes_BM=np.maximum(ends_BM - begins_BM, 0),
  )
