"""The row store: packed rows on disk, with random access.

A store is a folder with two sharded TensorStore zarr3 arrays, `train` and
`heldout`, `[num_rows, seq_len]`, zstd-compressed and checksummed (crc32c), and
a `rows.json` that is written last: a store without it is incomplete, and is
never read.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorstore as ts
from etils import epath

from mlm_jax.data.sources.documents import Report
from mlm_jax.errors import InputError
from mlm_jax.vocabulary import Vocabulary
from mlm_jax.workdir import write_atomically

SPLITS = ("train", "heldout")

# Tokens that a reader decompresses at once: few, so that one random row costs
# little more than itself. A shard is one file.
_CHUNK_TOKENS = 512
_SHARD_TOKENS = 1 << 22

# For decoded chunks kept in memory: a small corpus is decompressed only once.
_CACHE_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True)
class SplitInfo:
  """Statistics of one split.

  Attributes:
    num_rows: the number of rows.
    num_documents: the number of documents that the rows were packed from.
    tokens: the number of tokens, without padding and special tokens.
    fill: the fraction of all positions that is not padding.
    unigram_entropy: the entropy of the token frequencies, in nats: the loss of
      predicting by token frequency alone.
    bytes: those of the documents in UTF-8; 0 in stores made before these were
      counted.
    unknown: the number of unknown tokens, which are never predicted.
    num_left_out: the number of documents that were not packed, because they are
      evaluated on.
    nulls, bad, first_bad: as in `Report`, of the whole corpus.
  """

  num_rows: int
  num_documents: int
  tokens: int
  fill: float
  unigram_entropy: float
  bytes: int = 0
  unknown: int = 0
  num_left_out: int = 0
  nulls: int = 0
  bad: int = 0
  first_bad: str = ""

  @property
  def unknown_share(self) -> float:
    """The share of unknown tokens."""
    return self.unknown / max(1, self.tokens + self.unknown)


class RowStore:
  """A finished store, open for reading.

  Args:
    path: the folder of the store.

  Attributes:
    path: the folder of the store.
    seq_len: tokens in a row.
    info: the `SplitInfo` of each split.

  Raises:
    InputError: there is no store, or it is incomplete.
  """

  def __init__(self, path: epath.Path):
    if not is_finished(path):
      raise InputError(f"no prepared rows at {path}: prepare or train first")
    meta = json.loads((path / "rows.json").read_text())
    self.path = path
    self.seq_len = meta["seq_len"]
    self.info = {s: SplitInfo(**meta["splits"][s]) for s in SPLITS}
    context = ts.Context({"cache_pool": {"total_bytes_limit": _CACHE_BYTES}})
    self._arrays = {
      split: ts.open(
        {"driver": "zarr3", "kvstore": _kvstore(path / split)},
        context=context,
        read=True,
        open=True,
        # A finished store never changes.
        recheck_cached=False,
      ).result()
      for split in SPLITS
    }

  def read(self, split: str, indices: np.ndarray) -> np.ndarray:
    """Returns rows of a split, uint16 or uint32 [len(indices), seq_len]."""
    return self._arrays[split][indices].read().result()


@dataclasses.dataclass(frozen=True)
class Stores:
  """The row stores of a phase.

  Attributes:
    sources: of what is trained on, by name; that of data.corpus is called "".
    validation: of what is evaluated on alone, by name.
  """

  sources: Mapping[str, RowStore]
  validation: Mapping[str, RowStore] = dataclasses.field(default_factory=dict)

  @property
  def evaluated(self) -> dict[str, tuple[RowStore, str]]:
    """The store, and the split of it, of each text to evaluate on.

    The names are those of its records: heldout, heldout/SOURCE of one of
    several sources, and validation/NAME.
    """
    found = {
      f"heldout/{name}".rstrip("/"): (store, "heldout")
      for name, store in self.sources.items()
      if store.info["heldout"].num_rows
    }
    return found | {
      f"validation/{name}": (store, "train")
      for name, store in self.validation.items()
    }

  @property
  def headline(self) -> dict[str, tuple[RowStore, str]]:
    """Those whose loss, together, is called the held-out loss.

    They are the held-out documents; without any, the validation corpora.
    """
    evaluated = self.evaluated
    heldout = {n: t for n, t in evaluated.items() if n.startswith("heldout")}
    return heldout or evaluated

  @property
  def unigram_entropy(self) -> float:
    """That of `headline`, by the token frequencies of each of its texts."""
    infos = [store.info[split] for store, split in self.headline.values()]
    total = sum(info.tokens for info in infos)
    return sum(info.tokens * info.unigram_entropy for info in infos) / total


class SplitWriter:
  """Appends rows to one split of a store that is being written.

  Args:
    path: the folder of the split.
    seq_len: tokens in a row.
    vocab: decides the integer type, and which tokens are counted.
  """

  def __init__(self, path: epath.Path, seq_len: int, vocab: Vocabulary):
    self._vocab = vocab
    self._dtype = np.uint16 if vocab.size <= 1 << 16 else np.uint32
    # A shard holds whole chunks, and a write whole shards.
    chunk = max(1, _CHUNK_TOKENS // seq_len)
    self._shard = max(1, _SHARD_TOKENS // seq_len // chunk) * chunk
    self._seq_len = seq_len
    self._pending = []
    self._write = None
    self._counts = np.zeros(vocab.size, np.int64)
    self.num_rows = 0
    self.num_documents = 0
    self.bytes = 0
    self.num_left_out = 0
    self.report = Report()
    self._array = ts.open(
      {"driver": "zarr3", "kvstore": _kvstore(path)},
      create=True,
      dtype=self._dtype,
      shape=[0, seq_len],
      chunk_layout=ts.ChunkLayout(
        read_chunk_shape=[chunk, seq_len],
        write_chunk_shape=[self._shard, seq_len],
      ),
      codec=ts.CodecSpec({"driver": "zarr3", "codecs": _CODECS}),
    ).result()

  def append(self, row: np.ndarray) -> None:
    """Adds a row, int [seq_len]."""
    self._pending.append(row)
    if len(self._pending) == self._shard:
      self._flush()

  def _flush(self):
    if self._write:
      self._write.result()
      self._write = None
    if not self._pending:
      return
    rows = np.stack(self._pending).astype(self._dtype)
    self._pending = []
    self._counts += np.bincount(rows.ravel(), minlength=self._vocab.size)
    start, self.num_rows = self.num_rows, self.num_rows + len(rows)
    self._array = self._array.resize(
      exclusive_max=[self.num_rows, self._seq_len]
    ).result()
    # The next shard is packed while this one is written.
    self._write = self._array[start : self.num_rows].write(rows)

  def finish(self) -> SplitInfo:
    """Writes what is left and returns the statistics of the split."""
    self._flush()
    self._flush()  # Waits for the last write.
    size = max(1, self.num_rows * self._seq_len)
    fill = 1 - self._counts[self._vocab.pad_id] / size
    words = np.delete(self._counts, self._vocab.special_ids)
    spells_all = self._vocab.unk_id == self._vocab.pad_id
    unknown = 0 if spells_all else int(self._counts[self._vocab.unk_id])
    p = words[words > 0] / max(1, words.sum())
    return SplitInfo(
      num_rows=self.num_rows,
      num_documents=self.num_documents,
      tokens=int(words.sum()),
      fill=round(float(fill), 6),
      unigram_entropy=round(float(-(p * np.log(p)).sum()), 6),
      bytes=self.bytes,
      unknown=unknown,
      num_left_out=self.num_left_out,
      **dataclasses.asdict(self.report),
    )


def finish_store(
  path: epath.Path,
  seq_len: int,
  splits: Mapping[str, SplitInfo],
  fingerprint_fields: Mapping[str, Any] | None = None,
) -> None:
  """Makes a store readable: writes its `rows.json`."""
  meta = {
    "seq_len": seq_len,
    "splits": {name: dataclasses.asdict(i) for name, i in splits.items()},
    "fingerprint_fields": fingerprint_fields,
  }
  write_atomically(path / "rows.json", json.dumps(meta, indent=2) + "\n")


def fingerprint_fields(path: epath.Path) -> dict[str, Any]:
  """Returns what a store's fingerprint was computed from."""
  meta = json.loads((path / "rows.json").read_text())
  return meta["fingerprint_fields"] or {}


def is_finished(path: epath.Path) -> bool:
  """Returns whether a store is complete, so that it may be read."""
  return (path / "rows.json").exists()


def fingerprint(fields: Mapping[str, Any]) -> str:
  """Returns a hash of JSON values by name, whatever their order."""
  text = json.dumps(fields, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


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


def _kvstore(path: epath.Path) -> str | dict[str, str]:
  path = str(path)
  if "://" in path:
    return path + "/"
  return {"driver": "file", "path": os.path.abspath(path) + "/"}
