"""The noises of BART (Lewis et al. 2020).

Each keeps the start and the end of every document and makes no row longer, so
any number of them may follow one another. `config.corruption.NOISES` names them
and says in what order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlm_jax.data.corruption.primitives.documents import find_documents
from mlm_jax.data.corruption.primitives.masks import mask_targets, sample_tokens
from mlm_jax.data.corruption.primitives.random import RowRandom, uniform_int
from mlm_jax.data.corruption.primitives.row_ops import (
  MAX_POSITIONS,
  compact,
  count,
  cumulative_sum,
  gather,
  run_starts,
  scatter_sum,
)
from mlm_jax.data.corruption.primitives.sentences import sentence_starts
from mlm_jax.data.corruption.primitives.spans import (
  poisson_law,
  sample_spans,
  select,
)
from mlm_jax.data.corruption.primitives.words import find_words
from mlm_jax.vocabulary import Vocabulary

if TYPE_CHECKING:
  from mlm_jax.data.corruption.base import Corruption

# Above all random numbers by which sentences are ordered.
_LAST = 1 << 28


def permute_sentences(
  rows_BL: np.ndarray,
  rate: float | np.ndarray,
  corruption: Corruption,
  vocab: Vocabulary,
  random: RowRandom,
) -> np.ndarray:
  """Puts the sentences of each document in random order."""
  length = rows_BL.shape[1]
  docs = find_documents(rows_BL, vocab)
  starts_BL = sentence_starts(rows_BL, vocab)
  sentence_BL = cumulative_sum(starts_BL)
  # One number to sort by, from its highest bits: the document; between start
  # and end the sentence's random number; the position, which is read off it.
  random_BS = uniform_int(_LAST, random.bits(length + 1))
  order_BL = 1 + gather(random_BS, sentence_BL)
  order_BL = np.where(docs.inside_BL, order_BL, _LAST + 1)
  order_BL = np.where(rows_BL == vocab.start_id, 0, order_BL)
  number_BL = docs.number_BL.astype(np.int64) * (_LAST + 2)
  keys_BL = (number_BL + order_BL) * MAX_POSITIONS + np.arange(length)
  return gather(rows_BL, np.sort(keys_BL, axis=1) & (MAX_POSITIONS - 1))


def rotate_documents(
  rows_BL: np.ndarray,
  rate: float | np.ndarray,
  corruption: Corruption,
  vocab: Vocabulary,
  random: RowRandom,
) -> np.ndarray:
  """Rotates each document so that it begins with a random one of its tokens."""
  docs = find_documents(rows_BL, vocab)
  shift_BM = uniform_int(docs.sizes_BM, docs.bits(random))
  begin_BL = docs.gather(docs.begins_BM)
  size_BL = np.maximum(docs.gather(docs.sizes_BM), 1)
  index_BL = np.arange(rows_BL.shape[1])
  offset_BL = index_BL - begin_BL + docs.gather(shift_BM)
  offset_BL = np.where(offset_BL >= size_BL, offset_BL - size_BL, offset_BL)
  position_BL = np.where(docs.inside_BL, begin_BL + offset_BL, index_BL)
  return gather(rows_BL, position_BL)


def mask_tokens(
  rows_BL: np.ndarray,
  rate: float | np.ndarray,
  corruption: Corruption,
  vocab: Vocabulary,
  random: RowRandom,
) -> np.ndarray:
  """Replaces single tokens as token_masking does."""
  targets = _sample_tokens(rows_BL, rate, corruption, vocab, random)
  batch = mask_targets(rows_BL, targets, corruption.keys, vocab, random)
  return batch["input_ids"]


def delete_tokens(
  rows_BL: np.ndarray,
  rate: float | np.ndarray,
  corruption: Corruption,
  vocab: Vocabulary,
  random: RowRandom,
) -> np.ndarray:
  """Deletes single tokens: the model must also find out where."""
  length = rows_BL.shape[1]
  targets = _sample_tokens(rows_BL, rate, corruption, vocab, random)
  is_target_BP = targets.is_target_BP.astype(np.int32)
  deleted_BL = scatter_sum(targets.positions_BP, is_target_BP, length) > 0
  return compact(rows_BL, ~deleted_BL, length, vocab.pad_id)


def infill_text(
  rows_BL: np.ndarray,
  rate: float | np.ndarray,
  corruption: Corruption,
  vocab: Vocabulary,
  random: RowRandom,
) -> np.ndarray:
  """Replaces each span of words by one mask, and inserts masks between words.

  The lengths of spans follow a Poisson law of mean `mean_span`; those of length
  0 are the inserted masks.
  """
  length = rows_BL.shape[1]
  words = find_words(rows_BL, vocab, corruption.keys.word_boundaries)
  law = poisson_law(corruption.keys.mean_span)
  spans = sample_spans(words, corruption.num_hidden(length), law, random)
  count_B1 = corruption.num_masked(words.maskable_BL, rate)
  span_BL = select(spans, words, count_B1)
  masked_BL = span_BL > 0
  first_BL = run_starts(masked_BL)
  # The empty spans that were sampled before the last selected one.
  last_B1 = np.max(span_BL, axis=1, keepdims=True)
  empty_BS = (spans.lengths_BS == 0) & spans.fits_BS
  empty_BS &= np.arange(empty_BS.shape[1]) < last_B1
  # As many as there is room for after the others are replaced.
  room_B1 = count(rows_BL == vocab.pad_id) + count(masked_BL) - count(first_BL)
  empty_BS &= cumulative_sum(empty_BS) <= room_B1
  empty_BW = scatter_sum(
    np.minimum(spans.starts_BS, length), empty_BS.astype(np.int32), length + 1
  )
  before_BL = words.gather(empty_BW, outside=0) > 0
  before_BL &= words.starts_BL
  pairs_BL2 = np.stack([np.full_like(rows_BL, vocab.mask_id), rows_BL], -1)
  kept_BL2 = np.stack([before_BL | first_BL, ~masked_BL], axis=-1)
  flat = lambda x_BL2: x_BL2.reshape(-1, 2 * length)
  return compact(flat(pairs_BL2), flat(kept_BL2), length, vocab.pad_id)


def _sample_tokens(rows_BL, rate, corruption, vocab, random):
  maskable_BL = np.take(vocab.is_ordinary, rows_BL)
  count_B1 = corruption.num_masked(maskable_BL, rate)
  slots = corruption.num_hidden(rows_BL.shape[1])
  return sample_tokens(maskable_BL, count_B1, slots, random)
