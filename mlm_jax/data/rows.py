"""The row store: packed rows on disk, with random access.

A store is a folder with two sharded TensorStore zarr3 arrays, `train` and
`heldout`, `[block, row, seq_len]`, zstd-compressed and checksummed (crc32c),
and a `rows.json` that is written last: a store without it is incomplete, and is
never read.

Each block is written by itself, by whoever and whenever. The arrays are as
large as they may ever be, for what is not written takes no place; `rows.json`
says which blocks there are, and how many rows each has.
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

from mlm_jax.errors import InputError

SPLITS = ("train", "heldout")

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
    num_cut: the number of documents that do not stand in one row as a whole.
    num_left_out: the number of documents that were not packed, because they are
      evaluated on.
    num_duplicates: the number of documents of the corpus, of any split, that
      were left out as copies of others.
    nulls, bad, first_bad: as in `Report`, of the whole corpus.
  """

  num_rows: int
  num_documents: int
  tokens: int
  fill: float
  unigram_entropy: float
  bytes: int = 0
  unknown: int = 0
  num_cut: int = 0
  num_left_out: int = 0
  num_duplicates: int = 0
  nulls: int = 0
  bad: int = 0
  first_bad: str = ""

  @property
  def cut_share(self) -> float:
    """The share of documents that are cut."""
    return self.num_cut / max(1, self.num_documents)

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
        {"driver": "zarr3", "kvstore": kvstore(path / split)},
        context=context,
        read=True,
        open=True,
        # A finished store never changes.
        recheck_cached=False,
      ).result()
      for split in SPLITS
    }
    # By split, the number and the first row of each block.
    self._numbers, self._starts = {}, {}
    for split, (numbers, sizes) in meta.get("blocks", {}).items():
      self._numbers[split] = np.array(numbers, np.int64)
      self._starts[split] = np.cumsum([0, *sizes[:-1]], dtype=np.int64)

  def read(self, split: str, indices: np.ndarray) -> np.ndarray:
    """Returns rows of a split, uint16 or uint32 [len(indices), seq_len].

    Raises:
      InputError: a file of the store is damaged.
    """
    array, starts = self._arrays[split], self._starts.get(split)
    indices = np.asarray(indices)
    if ((indices < 0) | (indices >= self.info[split].num_rows)).any():
      raise IndexError(f"rows {indices} of {self.info[split].num_rows}")
    if starts is None:
      rows = array[indices]  # A store of the time before there were blocks.
    else:
      block = np.searchsorted(starts, indices, side="right") - 1
      rows = array[self._numbers[split][block], indices - starts[block]]
    try:
      return rows.read().result()
    except ValueError as error:
      reason = str(error).partition(" [")[0]
      raise InputError(
        f"the prepared rows at {self.path} are damaged: {reason}. Remove that "
        "folder, and the same command makes them anew"
      ) from error


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


def kvstore(path: epath.Path) -> str | dict[str, str]:
  """Returns what TensorStore calls a folder."""
  path = str(path)
  if "://" in path:
    return path + "/"
  return {"driver": "file", "path": os.path.abspath(path) + "/"}
