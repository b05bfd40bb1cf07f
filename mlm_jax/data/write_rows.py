"""Documents to row store: tokenize, split off the held-out ones, pack, write.

It streams: memory holds a packing pool and a few shards, whatever the corpus.
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from etils import epath

from mlm_jax.config import DataConfig
from mlm_jax.data import packing, rows, sources
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.progress import Progress
from mlm_jax.workdir import atomic_folder

# Characters that the tokenizing threads are given at a time.
_BATCH_CHARS = 1 << 20
_MILLION = 1_000_000
# Makes another order of the hashes than that by which documents are held out.
_SPREAD = 0x9E3779B97F4A7C15


def write_store(
  data: DataConfig,
  tokenizer: Tokenizer,
  path: epath.Path,
  fields: dict[str, Any],
) -> None:
  """Writes the row store of a corpus.

  Args:
    data: names the corpus and says how it is split and packed.
    tokenizer: what tokenizes it.
    path: the folder of the store. Nothing is there until all is written.
    fields: what the store's fingerprint was computed from, kept in it.

  Raises:
    InputError: the corpus cannot be read.
  """
  if path.exists():
    path.rmtree()  # An incomplete store.
  with atomic_folder(path) as partial:
    # One pass a split: reading is cheap beside tokenizing, and each pass
    # tokenizes only its own documents. The first has few of them, and measures
    # the corpus for the progress of the second.
    splitter = Splitter(data)
    write = functools.partial(_write_split, data, splitter, tokenizer, partial)
    heldout, millions = write("heldout")
    train, _ = write("train", millions)
    infos = {"train": train, "heldout": heldout}
    rows.finish_store(partial, data.seq_len, infos, fields)
    if rows.is_finished(path):
      # Another run that shares the folder was faster.
      partial.rmtree()


class Splitter:
  """Decides what a document is for.

  A hash of its text decides, so that all copies of it are for the same.

  Args:
    data: the configuration; its validation corpora are read.
  """

  def __init__(self, data: DataConfig):
    self._heldout = data.heldout_fraction * 2**64
    self._validation = {
      _digest(text)
      for corpus in data.validation_corpora.values()
      for text in sources.read_documents(corpus)
    }

  def split(self, document: str) -> str:
    """Returns "train", "heldout", or "validation": what is left out."""
    digest = _digest(document)
    if digest < self._heldout:
      return "heldout"
    return "validation" if digest in self._validation else "train"


def sampled(documents: Iterable[str], budget: int) -> tuple[list[str], int]:
  """Returns documents drawn from all, and the characters of all.

  A hash of the text decides, so that the sample depends on no order. Where the
  documents have more than `budget` characters, at least half of that is drawn.
  """
  kept, size, total, bound = [], 0, 0, 2**64
  for document in documents:
    total += len(document)
    digest = _digest(document) * _SPREAD % 2**64
    if digest >= bound:
      continue
    kept.append((digest, document))
    size += len(document)
    while size > budget and len(kept) > 1:
      bound //= 2
      kept = [one for one in kept if one[0] < bound]
      size = sum(len(text) for _, text in kept)
  return [text for _, text in kept], total


def _digest(document: str) -> int:
  digest = hashlib.blake2b(document.encode(), digest_size=8).digest()
  return int.from_bytes(digest, "little")


def _write_split(
  data: DataConfig,
  splitter: Splitter,
  tokenizer,
  path: epath.Path,
  split: str,
  millions: int = 0,
) -> tuple[rows.SplitInfo, int]:
  """Tokenizes, packs and writes the documents of one split.

  Args:
    data: the configuration of the rows.
    splitter: knows which documents those are.
    tokenizer: what tokenizes the documents.
    path: the folder of the store.
    split: "train" or "heldout".
    millions: characters of the corpus in millions; 0 if unknown, which shows
      no progress.

  Returns:
    What was written, and how many million characters were read.
  """
  vocab = tokenizer.vocabulary
  writer = rows.SplitWriter(path / split, data.seq_len, vocab)

  def documents():
    read = sources.read_documents(data, writer.report)
    for text in meter.measure(read):
      found = splitter.split(text)
      if found == split:
        yield text
      elif found == "validation" and split == "train":
        writer.num_left_out += 1

  with Progress(millions or None, unit="million characters") as progress:
    meter = _Meter(progress, millions)
    encoded = _encode(documents(), tokenizer, writer)
    for row in packing.pack(encoded, data.packing, data.seq_len, vocab):
      writer.append(row)
  return writer.finish(), meter.characters // _MILLION


class _Meter:
  """Counts the characters of documents and shows the progress through them."""

  def __init__(self, progress: Progress, millions: int):
    self.characters = 0
    self._progress, self._total = progress, millions

  def measure(self, documents: Iterable[str]) -> Iterator[str]:
    shown = 0
    for text in documents:
      self.characters += len(text)
      yield text
      now = self.characters // _MILLION
      if self._total and now > shown:
        self._progress.advance(now)
        if 10 * now // self._total > 10 * shown // self._total:
          self._progress.show(now)  # A line in a log.
        shown = now


def _encode(documents: Iterable[str], tokenizer, writer) -> Iterator[list[int]]:
  for batch in _batches(documents):
    writer.num_documents += len(batch)
    writer.bytes += sum(len(text.encode()) for text in batch)
    yield from tokenizer.encode(batch)


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
  batch, size = [], 0
  for text in documents:
    batch.append(text)
    size += len(text)
    if size >= _BATCH_CHARS:
      yield batch
      batch, size = [], 0
  yield batch
