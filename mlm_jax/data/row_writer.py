"""Writes a row store, block by block."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorstore as ts
from etils import epath

from mlm_jax.data import rows
from mlm_jax.data.sources.documents import Report
from mlm_jax.errors import InputError
from mlm_jax.vocabulary import Vocabulary
from mlm_jax.workdir import write_atomically

# Tokens that a reader decompresses at once: few, so that one random row costs
# little more than itself. A shard is one file.
_CHUNK_TOKENS = 512
_SHARD_TOKENS = 1 << 22

# The largest number of blocks, and of rows of one.
_MOST_BLOCKS, _MOST_ROWS = 1 << 40, 1 << 24

_CODECS = [
  {
    "name": "sharding_indexed",
    "configuration": {
      "codecs": [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": 3}},
        {"name": "crc32c"},
      ],
      "index_codecs": [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "crc32c"},
      ],
    },
  }
]


@dataclasses.dataclass
class Counts:
  """What a block has of one split.

  Attributes:
    tokens_V: how often each token of the vocabulary occurs.
    num_rows, num_documents, bytes, num_cut: as in `rows.SplitInfo`.
  """

  tokens_V: np.ndarray
  num_rows: int = 0
  num_documents: int = 0
  bytes: int = 0
  num_cut: int = 0

  def add(self, other: "Counts") -> None:
    """Adds what another block has."""
    for field in dataclasses.fields(self):
      total = getattr(self, field.name) + getattr(other, field.name)
      setattr(self, field.name, total)


class SplitWriter:
  """Appends rows to one split of a block of a store.

  Args:
    path: the folder of the store.
    split: "train" or "heldout".
    seq_len: tokens in a row.
    vocab: decides the integer type.
    block: the number of the block.

  Attributes:
    counts: what was written so far.
  """

  def __init__(
    self,
    path: epath.Path,
    split: str,
    seq_len: int,
    vocab: Vocabulary,
    block: int = 0,
  ):
    self._dtype = np.uint16 if vocab.size <= 1 << 16 else np.uint32
    # A shard holds whole chunks, and a write whole shards.
    chunk = max(1, _CHUNK_TOKENS // seq_len)
    self._shard = max(1, _SHARD_TOKENS // seq_len // chunk) * chunk
    self._pending, self._write, self._block = [], None, block
    self.counts = Counts(np.zeros(vocab.size, np.int64))
    opening = ts.open(
      {"driver": "zarr3", "kvstore": rows.kvstore(path / split)},
      open=True,
      create=True,
      dtype=self._dtype,
      shape=[_MOST_BLOCKS, _MOST_ROWS, seq_len],
      chunk_layout=ts.ChunkLayout(
        read_chunk_shape=[1, chunk, seq_len],
        write_chunk_shape=[1, self._shard, seq_len],
      ),
      codec=ts.CodecSpec({"driver": "zarr3", "codecs": _CODECS}),
    )
    self._array = _result(opening)

  def append(self, row: np.ndarray) -> None:
    """Adds a row, int [seq_len].

    Raises:
      InputError: a file cannot be written, such as on a disk that is full.
    """
    self._pending.append(row)
    if len(self._pending) == self._shard:
      self._flush()

  def _flush(self):
    if self._write:
      _result(self._write)
      self._write = None
    if not self._pending:
      return
    rows_NL = np.stack(self._pending).astype(self._dtype)
    self._pending = []
    counts = self.counts
    counts.tokens_V += np.bincount(
      rows_NL.ravel(), minlength=len(counts.tokens_V)
    )
    start, counts.num_rows = counts.num_rows, counts.num_rows + len(rows_NL)
    # The next shard is packed while this one is written.
    self._write = self._array[self._block, start : counts.num_rows].write(
      rows_NL
    )

  def finish(self) -> Counts:
    """Writes what is left; returns what the block has."""
    self._flush()
    self._flush()  # Waits for the last write.
    return self.counts


def _result(future: ts.Future) -> Any:
  """Returns what a future gives; raises InputError where it cannot write."""
  try:
    return future.result()
  except ValueError as error:
    # The library's message begins with a class and ends with a number.
    _, _, reason = str(error).partition(": ")
    raise InputError(reason.partition(" [os_error")[0]) from error


def _split_info(
  counts: Counts,
  seq_len: int,
  vocab: Vocabulary,
  report: Report,
  **counted: int,
) -> rows.SplitInfo:
  tokens_V = counts.tokens_V
  fill = 1 - tokens_V[vocab.pad_id] / max(1, counts.num_rows * seq_len)
  words = np.delete(tokens_V, vocab.special_ids)
  spells_all = vocab.unk_id == vocab.pad_id
  p = words[words > 0] / max(1, words.sum())
  return rows.SplitInfo(
    num_rows=counts.num_rows,
    num_documents=counts.num_documents,
    tokens=int(words.sum()),
    fill=round(float(fill), 6),
    unigram_entropy=round(float(-(p * np.log(p)).sum()), 6),
    bytes=counts.bytes,
    unknown=0 if spells_all else int(tokens_V[vocab.unk_id]),
    num_cut=counts.num_cut,
    nulls=report.nulls,
    bad=report.bad,
    first_bad=report.first_bad,
    **counted,
  )


def finish_store(
  path: epath.Path,
  seq_len: int,
  vocab: Vocabulary,
  blocks: Iterable[tuple[int, Mapping[str, Counts]]],
  report: Report | None = None,
  *,
  num_left_out: int = 0,
  num_duplicates: int = 0,
  fingerprint_fields: Mapping[str, Any] | None = None,
) -> None:
  """Makes a store readable: writes its `rows.json`.

  Args:
    path: the folder of the store.
    seq_len: tokens in a row.
    vocab: whose tokens they are.
    blocks: in order, the number of each block and what it has of each split.
    report: what was found in the corpus.
    num_left_out, num_duplicates: as in `rows.SplitInfo`.
    fingerprint_fields: what the store's fingerprint was computed from.
  """
  total = {s: Counts(np.zeros(vocab.size, np.int64)) for s in rows.SPLITS}
  index, splits = {split: [[], []] for split in rows.SPLITS}, {}
  for number, counts in blocks:
    for split in rows.SPLITS:
      total[split].add(counts[split])
      index[split][0].append(number)
      index[split][1].append(counts[split].num_rows)
  for split in rows.SPLITS:
    info = _split_info(
      total[split],
      seq_len,
      vocab,
      report or Report(),
      num_left_out=num_left_out if split == "train" else 0,
      num_duplicates=num_duplicates,
    )
    splits[split] = dataclasses.asdict(info)
  meta = {
    "seq_len": seq_len,
    "splits": splits,
    "blocks": index,
    "fingerprint_fields": fingerprint_fields,
  }
  write_atomically(path / "rows.json", json.dumps(meta, indent=2) + "\n")
