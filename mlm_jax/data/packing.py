"""Packing: documents to rows of `seq_len` ids, with little padding.

A document becomes pieces `[start, ids..., end]` of at most `seq_len` tokens; a
row holds pieces one after the other and is padded at its end. Because every
piece opens with the start token, a row needs no companion arrays: segments and
positions are derived from the row itself (`models.positions`).
"""

import collections
from collections.abc import Iterable, Iterator

import numpy as np

from mlm_jax.vocabulary import Vocabulary

# Tokens that best-fit chooses from: with more, rows are fuller and fewer
# documents are cut.
_POOL_TOKENS = 1 << 21

# A gap smaller than this is left empty: a piece of few tokens teaches little.
_SMALLEST_CUT = 8


def pack(
  documents: Iterable[list[int]], packing: str, seq_len: int, vocab: Vocabulary
) -> Iterator[np.ndarray]:
  """Yields rows, int32 [seq_len], that together hold each token once.

  Args:
    documents: the ids of each document, without start and end tokens.
    packing: "best_fit" fills each row with the longest pieces that still fit,
      and cuts a piece only where none fits; "concat" keeps the order and cuts
      at the end of each row; "single" puts one piece in a row.
    seq_len: tokens in a row.
    vocab: has the ids of the start, end and padding tokens.
  """
  pieces = _full_pieces(documents, seq_len - 2)
  for row in _PACKERS[packing](pieces, seq_len):
    flat = np.full(seq_len, vocab.pad_id, np.int32)
    start = 0
    for ids in row:
      end = start + 1 + len(ids)
      flat[start] = vocab.start_id
      flat[start + 1 : end] = ids
      flat[end] = vocab.end_id
      start = end + 1
    yield flat


def _full_pieces(documents, longest):
  """Cuts documents into pieces of at most `longest` ids."""
  for ids in documents:
    for start in range(0, len(ids), longest):
      yield ids[start : start + longest]


# Each packer yields rows, a list of pieces each, whose start and end tokens are
# still to come.


def _single(pieces, seq_len):
  for ids in pieces:
    yield [ids]


def _concat(pieces, seq_len):
  row, room = [], seq_len
  for ids in pieces:
    while ids:
      if room < _SMALLEST_CUT:
        yield row
        row, room = [], seq_len
      row.append(ids[: room - 2])
      ids = ids[room - 2 :]
      room -= len(row[-1]) + 2
  if row:
    yield row


def _best_fit(pieces, seq_len):
  pool = _Pool()
  for ids in pieces:
    pool.add(ids)
    if pool.tokens >= _POOL_TOKENS:
      yield _fill(pool, seq_len)
  while pool.tokens:
    yield _fill(pool, seq_len)


def _fill(pool, seq_len):
  row, room = [], seq_len
  while pool.tokens and room >= _SMALLEST_CUT:
    ids = pool.pop_longest(at_most=room - 2)
    if ids is None:
      # Nothing fits: cut the longest piece; its rest goes to another row.
      ids = pool.pop_longest()
      pool.add(ids[room - 2 :])
      ids = ids[: room - 2]
    row.append(ids)
    room -= len(ids) + 2
  return row


class _Pool:
  """Pieces by length; finds the longest under a limit in constant time."""

  def __init__(self):
    self.tokens = 0
    self._by_length = collections.defaultdict(collections.deque)
    self._lengths = 0  # Bit n is set if there are pieces of length n.

  def add(self, ids):
    self._by_length[len(ids)].append(ids)
    self._lengths |= 1 << len(ids)
    self.tokens += len(ids)

  def pop_longest(self, at_most=None):
    lengths = self._lengths
    if at_most is not None:
      lengths &= (2 << at_most) - 1
    if not lengths:
      return None
    length = lengths.bit_length() - 1
    ids = self._by_length[length].popleft()
    if not self._by_length[length]:
      self._lengths &= ~(1 << length)
    self.tokens -= length
    return ids


_PACKERS = {"best_fit": _best_fit, "concat": _concat, "single": _single}
