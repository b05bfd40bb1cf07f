"""Blocks: stretches of a corpus that are tokenized and packed by themselves.

Which documents make a block depends on the corpus alone. So its rows are the
same whoever writes them: one process, several, or the machines of a Beam
runner, in one go or after a kill.
"""

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from mlm_jax.config import DataConfig
from mlm_jax.data import packing, row_writer, rows, sources
from mlm_jax.data.sources import Group
from mlm_jax.data.sources.documents import Report
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.workdir import atomic_file

# A block is closed once it has so many characters: about a shard of tokens.
_BLOCK_CHARS = 1 << 24
# Blocks of a group are numbered within it.
_MOST_OF_GROUP = 1 << 20
# Characters that the tokenizer is given at a time.
_BATCH_CHARS = 1 << 20

# Where what is known of finished blocks is kept, until all are.
FOLDER = "blocks"


@dataclasses.dataclass
class Block:
  """Documents that follow each other.

  Attributes:
    number: unique in the corpus, ascending.
    documents: by split, their texts.
    num_left_out: the number of documents that are evaluated on, which the block
      is without.
    num_duplicates: the number of those that it is without, as duplicates.
    report: on the part of the corpus that it was read from.
  """

  number: int
  documents: dict[str, list[str]]
  num_left_out: int = 0
  num_duplicates: int = 0
  report: Report = dataclasses.field(default_factory=Report)

  @property
  def digest(self) -> str:
    """A hash of the texts."""
    digest = hashlib.blake2b(digest_size=16)
    for split, texts in self.documents.items():
      for text in [split, *texts]:
        digest.update(hashlib.blake2b(text.encode()).digest())
    return digest.hexdigest()


class Written(NamedTuple):
  """What is known of a block whose rows stand on disk."""

  digest: str
  counts: Mapping[str, row_writer.Counts]
  num_left_out: int
  num_duplicates: int
  report: Report


class Splitter:
  """Decides what a document is for.

  A hash of its text decides, so that all copies of it are for the same.

  Args:
    data: the configuration; its validation corpora are read.
  """

  def __init__(self, data: DataConfig):
    self._heldout = data.heldout_fraction * 2**64
    self._validation = {
      digest(text)
      for corpus in data.validation_corpora.values()
      for text in sources.read_documents(corpus)
    }

  def split(self, document: str) -> str:
    """Returns "train", "heldout", or "validation": what is left out."""
    found = digest(document)
    if found < self._heldout:
      return "heldout"
    return "validation" if found in self._validation else "train"


def digest(document: str) -> int:
  """Returns a hash of a text, below 2^64."""
  found = hashlib.blake2b(document.encode(), digest_size=8).digest()
  return int.from_bytes(found, "little")


def read(
  data: DataConfig,
  splitter: Splitter,
  number: int,
  group: Group,
  duplicates: Collection[int] = (),
) -> Iterator[Block]:
  """Yields the blocks of a group, at least one.

  Args:
    data: names the corpus.
    splitter: decides which split a document belongs to.
    number: of the group.
    group: what is read.
    duplicates: the numbers of documents of the group to leave out.
  """
  report, size = Report(), 0
  block = _empty(number * _MOST_OF_GROUP)
  documents = sources.read_documents(data, report, group.paths)
  for index, text in enumerate(documents):
    if index in duplicates:
      block.num_duplicates += 1
      continue
    if size >= _BLOCK_CHARS:
      block.report = report.take()
      yield block
      block, size = _empty(block.number + 1), 0
    size += len(text)
    split = splitter.split(text)
    if split == "validation":
      block.num_left_out += 1
    else:
      block.documents[split].append(text)
  block.report = report.take()
  yield block


def _empty(number: int) -> Block:
  return Block(number, {split: [] for split in rows.SPLITS})


def write(
  block: Block, data: DataConfig, tokenizer: Tokenizer, path: epath.Path
) -> None:
  """Tokenizes, packs and writes a block, and what is known of it.

  Args:
    block: what to write.
    data: the configuration of the rows.
    tokenizer: what tokenizes it.
    path: the folder of the store.
  """
  vocab, counts = tokenizer.vocabulary, {}
  for split, texts in block.documents.items():
    writer = row_writer.SplitWriter(
      path, split, data.seq_len, vocab, block.number
    )
    cuts = packing.Cuts()
    encoded = (
      ids for batch in _batches(texts) for ids in tokenizer.encode(batch)
    )
    for row in packing.pack(encoded, data, vocab, cuts):
      writer.append(row)
    counts[split] = dataclasses.replace(
      writer.finish(),
      num_documents=len(texts),
      bytes=sum(len(text.encode()) for text in texts),
      num_cut=cuts.num_documents,
    )
  written = Written(
    block.digest, counts, block.num_left_out, block.num_duplicates, block.report
  )
  _save(written, _file(path, block.number))


def is_written(block: Block, path: epath.Path) -> bool:
  """Returns whether the rows of these very documents are there already."""
  if not _file(path, block.number).exists():
    return False
  try:
    return load(path, block.number).digest == block.digest
  except (ValueError, KeyError, zipfile.BadZipFile):
    return False  # It is damaged.


def load(path: epath.Path, number: int) -> Written:
  """Returns what is known of a block that is written."""
  with np.load(io.BytesIO(_file(path, number).read_bytes())) as arrays:
    about = json.loads(str(arrays["about"]))
    counts = {
      split: row_writer.Counts(tokens_V=arrays[split], **values)
      for split, values in about["counts"].items()
    }
  about |= {"counts": counts, "report": Report(**about["report"])}
  return Written(**about)


def _save(written: Written, file: epath.Path) -> None:
  counts = {
    split: {k: v for k, v in vars(found).items() if k != "tokens_V"}
    for split, found in written.counts.items()
  }
  report = dataclasses.asdict(written.report)
  about = written._asdict() | {"counts": counts, "report": report}
  arrays = {split: found.tokens_V for split, found in written.counts.items()}
  buffer = io.BytesIO()
  np.savez_compressed(buffer, about=np.array(json.dumps(about)), **arrays)
  with atomic_file(file) as out:
    out.write(buffer.getvalue())


def _file(path: epath.Path, number: int) -> epath.Path:
  return path / FOLDER / f"{number:012}.npz"


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
  batch, size = [], 0
  for text in texts:
    batch.append(text)
    size += len(text)
    if size >= _BATCH_CHARS:
      yield batch
      batch, size = [], 0
  yield batch
