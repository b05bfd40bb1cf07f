"""Packing: documents to rows of `seq_len` ids, with little padding.

A document becomes pieces `[start, ids..., end]` of at most `seq_len` tokens; a
row holds pieces one after the other and is padded at its end. Because every
piece opens with the start token, a row needs no companion arrays: segments and
positions are derived from the row itself (`models.positions`).
"""

import collections
import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from mlm_jax.config import DataConfig
from mlm_jax.vocabulary import Vocabulary

# Tokens that best-fit chooses from: with more, rows are fuller and fewer
# documents are cut.
_POOL_TOKENS = 1 << 21

# A gap smaller than this is left empty: a piece of few tokens teaches little.
_SMALLEST_CUT = 8


@dataclasses.dataclass
class Cuts:
  """Counts the documents that do not stand in one row as a whole."""

  num_documents: int = 0


class _Rest(list):
  """The rest of a document that was cut, which counts no second time."""


def pack(
  documents: Iterable[list[int]],
  data: DataConfig,
  vocab: Vocabulary,
  cuts: Cuts | None = None,
) -> Iterator[np.ndarray]:
  """Yields rows, int32 [seq_len], that together hold each token once.

  Args:
    documents: the ids of each document, without start and end tokens.
    data: `packing` "best_fit" fills each row with the longest pieces that still
      fit, and cuts a piece only where none fits; "concat" keeps the order and
      cuts at the end of each row; "single" puts one piece in a row. Also has
      `seq_len` and `documents_per_row`.
    vocab: has the ids of the start, end and padding tokens.
    cuts: counts the documents that are cut.
  """
  seq_len, cuts = data.seq_len, cuts or Cuts()
  most = data.documents_per_row or seq_len
  pieces = _full_pieces(documents, seq_len - 2, cuts)
  for row in _PACKERS[data.packing](pieces, seq_len, most, cuts):
    flat = np.full(seq_len, vocab.pad_id, np.int32)
    start = 0
    for ids in row:
      end = start + 1 + len(ids)
      flat[start] = vocab.start_id
      flat[start + 1 : end] = ids
      flat[end] = vocab.end_id
      start = end + 1
    yield flat


def _full_pieces(documents, longest, cuts):
  """Cuts documents into pieces of at most `longest` ids."""
  for ids in documents:
    if len(ids) <= longest:
      if ids:
        yield ids
      continue
    cuts.num_documents += 1
    for start in range(0, len(ids), longest):
      yield _Rest(ids[start : start + longest])


def _cut(ids, size, cuts):
  """Returns the first ids of a piece, and its rest."""
  cuts.num_documents += not isinstance(ids, _Rest)
  return ids[:size], _Rest(ids[size:])


# Each packer yields rows, a list of pieces each, whose start and end tokens are
# still to come.


def _single(pieces, seq_len, most, cuts):
  for ids in pieces:
    yield [ids]


def _concat(pieces, seq_len, most, cuts):
  row, room = [], seq_len
  for ids in pieces:
    while ids:
      if room < _SMALLEST_CUT or len(row) == most:
        yield row
        row, room = [], seq_len
      rest = []
      if len(ids) > room - 2:
        ids, rest = _cut(ids, room - 2, cuts)
      row.append(ids)
      room -= len(ids) + 2
      ids = rest
  if row:
    yield row


def _best_fit(pieces, seq_len, most, cuts):
  pool = _Pool()
  for ids in pieces:
    pool.add(ids)
    if pool.tokens >= _POOL_TOKENS:
      yield _fill(pool, seq_len, most, cuts)
  while pool.tokens:
    yield _fill(pool, seq_len, most, cuts)


def _fill(pool, seq_len, most, cuts):
  row, room = [], seq_len
  while pool.tokens and room >= _SMALLEST_CUT and len(row) < most:
    ids = pool.pop_longest(at_most=room - 2)
    if ids is None:
      # Nothing fits: cut the longest piece; its rest goes to another row.
      ids, rest = _cut(pool.pop_longest(), room - 2, cuts)
      pool.add(rest)
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
