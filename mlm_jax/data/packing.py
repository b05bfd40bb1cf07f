"""Documents to rows of `seq_len` ids, as full as they can be.

A document becomes pieces `[start, ids..., end]` of at most `seq_len`; a row
holds pieces one after the other, padded at its end. Because every piece opens
with the start token, a row needs no companion arrays: segments and positions
are read off the row (`models.layout`).
"""

import collections
from collections.abc import Iterable, Iterator

import numpy as np

from mlm_jax.vocabulary import Vocabulary

# What best-fit may choose from, in tokens. More fits better and cuts less.
_POOL_TOKENS = 1 << 21

# A hole smaller than this is left empty: a piece of few tokens teaches little.
_SMALLEST_CUT = 8


def pack(
  documents: Iterable[list[int]], packing: str, seq_len: int, vocab: Vocabulary
) -> Iterator[np.ndarray]:
  """Yields rows, int32[seq_len], that together hold each token once.

  Args:
    documents: the ids of each document, without start and end.
    packing: "best_fit" fills each row with the longest pieces that still fit
      and cuts a piece only where none does; "concat" keeps the order and cuts
      at each row's end; "single" puts one piece in a row.
    seq_len: the length of a row.
    vocab: gives the start, end and pad ids.
  """
  pieces = _full_pieces(documents, seq_len - 2)
  for row in _PACKERS[packing](pieces, seq_len):
    flat = np.full(seq_len, vocab.pad_id, np.int32)
    at = 0
    for ids in row:
      flat[at] = vocab.start_id
      flat[at + 1 : at + 1 + len(ids)] = ids
      flat[at + 1 + len(ids)] = vocab.end_id
      at += len(ids) + 2
    yield flat


def _full_pieces(documents, room):
  for ids in documents:
    for start in range(0, len(ids), room):
      yield ids[start : start + room]


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
    ids = pool.longest(at_most=room - 2)
    if ids is None:
      # Nothing fits: cut the longest there is; its rest will fill another row.
      ids = pool.longest()
      pool.add(ids[room - 2 :])
      ids = ids[: room - 2]
    row.append(ids)
    room -= len(ids) + 2
  return row


class _Pool:
  """Pieces by length; the longest under a limit in constant time."""

  def __init__(self):
    self.tokens = 0
    self._by_length = collections.defaultdict(collections.deque)
    self._lengths = 0  # Bit n is set where there are pieces of length n.

  def add(self, ids):
    self._by_length[len(ids)].append(ids)
    self._lengths |= 1 << len(ids)
    self.tokens += len(ids)

  def longest(self, at_most=None):
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
