"""Sentence pairs: NSP (Devlin et al. 2019) and SOP (Lan et al. 2020).

A row has one document. It is split where a sentence begins or, if it is one
sentence, where a word does: [start] first [end] second [end].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mlm_jax.batch import select
from mlm_jax.data.corruption.primitives.random import (
  RowRandom,
  threshold,
  uniform_int,
)
from mlm_jax.data.corruption.primitives.row_ops import count, gather
from mlm_jax.data.corruption.primitives.sentences import sentence_starts
from mlm_jax.vocabulary import Vocabulary

FIELDS = select("type_ids", "pair_labels", "pair_weights")

# Above all random numbers: a better position has a greater key.
_BETTER = 1 << 28


class Part(NamedTuple):
  """A part of each row.

  Attributes:
    rows_BL: the rows.
    begin_B: the position of its first token.
    size_B: the number of its tokens.
  """

  rows_BL: np.ndarray
  begin_B: np.ndarray
  size_B: np.ndarray


def next_sentence(
  rows_NL: np.ndarray, vocab: Vocabulary, random: RowRandom
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Returns rows of pairs whose second follows, or is from the next row.

  Both are equally likely, and the second is as long as the shorter of the two,
  so that its length does not give it away (Devlin et al. 2019).

  Args:
    rows_NL: one more row than there are pairs.
    vocab: the ids that begin sentences and words.
    random: for all N rows.
  """
  first_N, second_N = _split(rows_NL, vocab, random)
  first = Part(*(x[:-1] for x in first_N))
  following = Part(*(x[:-1] for x in second_N))
  other = Part(*(x[1:] for x in second_N))
  follows_B = _coin(random)[:-1]
  second = _either(follows_B, following, other)
  size_B = np.minimum(following.size_B, other.size_B)
  return _join(first, second._replace(size_B=size_B), follows_B, vocab)


def sentence_order(
  rows_BL: np.ndarray, vocab: Vocabulary, random: RowRandom
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Returns rows of pairs in their order or, equally likely, swapped.

  (Lan et al. 2020)
  """
  first, second = _split(rows_BL, vocab, random)
  # A row that is no pair stays as it is.
  ordered_B = _coin(random) | (second.size_B == 0)
  return _join(
    _either(ordered_B, first, second),
    _either(ordered_B, second, first),
    ordered_B,
    vocab,
  )


def _split(rows_BL, vocab, random) -> tuple[Part, Part]:
  """Splits each document where a random sentence starts.

  The second part may be empty. Together they leave room for one more end.
  """
  length = rows_BL.shape[1]
  real_B = count(rows_BL != vocab.pad_id)[:, 0]
  ends_B = np.clip(real_B - 1, 1, length - 2)
  index_L = np.arange(length, dtype=np.int32)
  allowed_BL = (index_L > 1) & (index_L < ends_B[:, None])
  word_BL = np.take(vocab.starts_word, rows_BL)
  better_BL = np.where(sentence_starts(rows_BL, vocab), 2, word_BL)
  key_BL = better_BL * _BETTER + uniform_int(_BETTER, random.bits(length))
  key_BL = np.where(allowed_BL, key_BL, -1)
  middle_B = np.argmax(key_BL, axis=1).astype(np.int32)
  # A single token leaves nothing for the second part.
  middle_B = np.where(allowed_BL.any(axis=1), middle_B, ends_B)
  ones_B = np.ones_like(middle_B)
  return (
    Part(rows_BL, ones_B, middle_B - 1),
    Part(rows_BL, middle_B, ends_B - middle_B),
  )


def _coin(random):
  return random.bits(1)[:, 0] < threshold(0.5)


def _either(which_B, one: Part, other: Part) -> Part:
  return Part(
    np.where(which_B[:, None], one.rows_BL, other.rows_BL),
    np.where(which_B, one.begin_B, other.begin_B),
    np.where(which_B, one.size_B, other.size_B),
  )


def _join(first, second, labels_B, vocab):
  """Returns the rows of pairs, and the other fields of their batch."""
  length = first.rows_BL.shape[1]
  index_L = np.arange(length, dtype=np.int32)
  first_B1, second_B1 = first.size_B[:, None], second.size_B[:, None]
  is_pair_B1 = second_B1 > 0
  # After the start and the first part is its end, and at last the second's.
  middle_B1 = first_B1 + 1
  last_B1 = middle_B1 + second_B1 + is_pair_B1
  position_BL = np.where(
    index_L < middle_B1,
    first.begin_B[:, None] + index_L - 1,
    length + second.begin_B[:, None] + index_L - middle_B1 - 1,
  )
  both_BT = np.concatenate([first.rows_BL, second.rows_BL], axis=1)
  rows_BL = gather(both_BT, np.clip(position_BL, 0, 2 * length - 1))
  is_end_BL = (index_L == middle_B1) | (index_L == last_B1)
  rows_BL = np.where(is_end_BL, vocab.end_id, rows_BL)
  rows_BL = np.where(index_L == 0, vocab.start_id, rows_BL)
  inside_BL = index_L <= last_B1
  in_second_BL = (index_L > middle_B1) & inside_BL
  return np.where(inside_BL, rows_BL, vocab.pad_id), {
    "type_ids": in_second_BL.astype(np.int32),
    "pair_labels": labels_B.astype(np.int32),
    "pair_weights": is_pair_B1[:, 0].astype(np.float32),
  }


# By the values of corruption.sentence_pairs.
PAIRS = {"nsp": next_sentence, "sop": sentence_order}
