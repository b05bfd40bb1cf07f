"""Readers: from the name of a corpus to a stream of documents.

A corpus is `tfds:NAME[/CONFIG][:SPLIT]`, `text:GLOBS`, `jsonl:GLOBS` or
`parquet:GLOBS`. Reading streams: memory does not grow with the corpus.
"""

import codecs
import contextlib
import difflib
import glob
import gzip
import hashlib
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator

import pyarrow

from mlm_jax.config import DataConfig
from mlm_jax.errors import InputError, unknown

# A longer document is cut into several, so that memory stays bounded.
MAX_DOCUMENT_CHARS = 1 << 20

# What is asked of gs:// at a time.
_REMOTE_BUFFER = 1 << 22

# What is hashed of a file's start and end.
_DIGESTED = 1 << 16

_WIKITEXT_TITLE = re.compile(r" = [^=].* = \n?")


def read_documents(data: DataConfig) -> Iterator[str]:
  """Yields the documents of `data.corpus` in a fixed order.

  Raises:
    InputError: an unknown kind of corpus, no file, no such field, no text.
  """
  kind, source = _split(data.corpus)
  empty = True
  try:
    for text in _READERS[kind](source, data):
      for start in range(0, len(text), MAX_DOCUMENT_CHARS):
        document = text[start : start + MAX_DOCUMENT_CHARS].strip()
        if document:
          empty = False
          yield document
  except (OSError, EOFError, zlib.error, pyarrow.ArrowException) as error:
    raise InputError(f"cannot read {data.corpus!r}: {error}") from error
  if empty:
    raise InputError(f"data.corpus={data.corpus!r} holds no text")


def identity(data: DataConfig) -> list[str]:
  """Returns what tells this corpus from others: its files, or its version.

  Raises:
    InputError: an unknown kind of corpus, no file, or one that cannot be read.
  """
  kind, source = _split(data.corpus)
  if kind == "tfds":
    builder, split = _tfds_builder(source, data)
    return [builder.info.full_name, split]
  try:
    return [f"{os.path.basename(p)}:{_digest(p)}" for p in _files(source)]
  except OSError as error:
    raise InputError(f"cannot read {data.corpus!r}: {error}") from error


def _digest(path: str) -> str:
  """Returns a hash of a file's length and ends, which costs no full read."""
  with _open_bytes(path) as file:
    length = file.seek(0, os.SEEK_END)
    digest = hashlib.blake2b(str(length).encode(), digest_size=8)
    for start in (0, max(0, length - _DIGESTED)):
      file.seek(start)
      digest.update(file.read(_DIGESTED))
  return digest.hexdigest()


def _split(corpus: str) -> tuple[str, str]:
  if not corpus:
    raise InputError(
      "no corpus: set --config.data.corpus, for example to 'text:my/*.txt' or "
      "'tfds:wikipedia/20230601.en'"
    )
  kind, colon, source = corpus.partition(":")
  if not colon or kind not in _READERS:
    raise unknown("kind of corpus", corpus, [f"{k}:..." for k in _READERS])
  return kind, source


def _files(globs: str) -> list[str]:
  paths = []
  for pattern in globs.split(","):
    found = sorted(_glob(pattern))
    if not found:
      raise InputError(f"no file matches {pattern!r}")
    paths += found
  return paths


def _glob(pattern: str) -> list[str]:
  if "://" not in pattern:
    found = glob.glob(os.path.expanduser(pattern), recursive=True)
    return [path for path in found if not os.path.isdir(path)]
  from mlm_jax.data.host_tensorflow import tf

  return [p for p in tf.io.gfile.glob(pattern) if not tf.io.gfile.isdir(p)]


class _Remote(io.RawIOBase):
  """A file behind a URL, as the rest of Python knows files."""

  def __init__(self, path: str):
    from mlm_jax.data.host_tensorflow import tf

    self._file = tf.io.gfile.GFile(path, "rb")

  def readable(self):
    return True

  def seekable(self):
    return True

  def readinto(self, buffer):
    data = self._file.read(len(buffer))
    buffer[: len(data)] = data
    return len(data)

  def seek(self, offset, whence=io.SEEK_SET):
    self._file.seek(offset, whence=whence)
    return self._file.tell()

  def tell(self):
    return self._file.tell()


def _open_bytes(path: str) -> io.BufferedIOBase:
  if "://" in path:
    return io.BufferedReader(_Remote(path), _REMOTE_BUFFER)
  return open(path, "rb")


def _open(path: str) -> io.BufferedIOBase:
  file = _open_bytes(path)
  if path.endswith(".gz"):
    return gzip.open(file)
  if path.endswith(".zst"):
    source = pyarrow.PythonFile(file, mode="r")
    return io.BufferedReader(pyarrow.CompressedInputStream(source, "zstd"))
  return file


def _lines(path: str) -> Iterator[str]:
  """Yields lines, at most `MAX_DOCUMENT_CHARS` bytes at a time."""
  with _open(path) as file:
    number = 1
    decoder = codecs.getincrementaldecoder("utf-8")()
    while line := file.readline(MAX_DOCUMENT_CHARS):
      try:
        yield decoder.decode(line, final=line.endswith(b"\n"))
      except UnicodeDecodeError as error:
        raise InputError(
          f"{path} line {number} is not UTF-8 text: {error.reason}"
        ) from error
      number += line.endswith(b"\n")
    if decoder.getstate()[0]:
      raise InputError(f"{path} line {number} is not UTF-8 text: it is cut")


def _read_text(globs: str, data: DataConfig) -> Iterator[str]:
  ends_before, keep = _BOUNDARIES[data.document_boundary]
  for path in _files(globs):
    lines, size = [], 0
    for line in _lines(path):
      if "\0" in line:
        raise InputError(f"{path} is binary, not text")
      ends = ends_before(line)
      if ends or size >= MAX_DOCUMENT_CHARS:
        yield "".join(lines)
        lines, size = [], 0
      if ends and not keep:
        continue
      lines.append(line)
      size += len(line)
    yield "".join(lines)


# Kind of boundary -> (does a document end before this line?, is the line text?)
_BOUNDARIES: dict[str, tuple[Callable[[str], object], bool]] = {
  "blank_line": (lambda line: not line.strip(), False),
  "file": (lambda line: False, True),
  "wikitext": (_WIKITEXT_TITLE.fullmatch, True),
}


def _read_jsonl(globs: str, data: DataConfig) -> Iterator[str]:
  for path in _files(globs):
    with _open(path) as file:
      for number, line in enumerate(file, 1):
        if not line.strip():
          continue
        try:
          example = json.loads(line)
        except ValueError as error:
          raise InputError(
            f"{path} line {number} is not JSON: {error}"
          ) from error
        yield _field(example, data.text_field, f"{path} line {number}")


def _read_parquet(globs: str, data: DataConfig) -> Iterator[str]:
  import pyarrow.parquet

  for path in _files(globs):
    with _open(path) as file:
      try:
        table = pyarrow.parquet.ParquetFile(file)
      except pyarrow.ArrowInvalid as error:
        raise InputError(f"{path} is not a parquet file: {error}") from error
      if data.text_field not in table.schema_arrow.names:
        raise _no_field(data.text_field, table.schema_arrow.names, path)
      for batch in table.iter_batches(1024, columns=[data.text_field]):
        yield from (str(text) for text in batch.column(0).to_pylist() if text)


def _read_tfds(source: str, data: DataConfig) -> Iterator[str]:
  import tensorflow_datasets as tfds

  builder, split = _tfds_builder(source, data)
  features = builder.info.features
  if data.text_field not in features:
    raise _no_field(data.text_field, features, source)
  examples = builder.as_dataset(
    split=split,
    shuffle_files=False,
    decoders=tfds.decode.PartialDecoding({data.text_field: True}),
    # One file after the other: the order does not depend on threads.
    read_config=tfds.ReadConfig(interleave_cycle_length=1),
  )
  for example in examples.as_numpy_iterator():
    yield example[data.text_field].decode()


def _tfds_builder(source: str, data: DataConfig):
  import tensorflow_datasets as tfds

  from mlm_jax.data import (
    host_tensorflow,
    python_docs,  # noqa: F401  registers the builder
  )

  host_tensorflow.load()
  tfds.disable_progress_bar()
  name, _, split = source.partition(":")
  try:
    builder = tfds.builder(name, data_dir=data.tfds_data_dir or None)
    if not builder.is_prepared():
      print(f"Making the dataset {name} in {builder.data_dir}", flush=True)
      with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()
  except Exception as error:  # TFDS raises whatever its builders raise.
    reason = str(error).strip().partition("\n")[0]
    known = tfds.list_builders(with_community_datasets=False)
    near = difflib.get_close_matches(name, known, n=1)
    if near and near[0] != name:
      reason = f"did you mean {near[0]!r}?"
    raise InputError(
      f"tensorflow-datasets has no {name!r}: {reason}"
    ) from error
  split = split or "train"
  if split.partition("[")[0] not in builder.info.splits:
    raise unknown(f"split of {name}", split, builder.info.splits)
  return builder, split


def _field(example: dict, name: str, where) -> str:
  if not isinstance(example, dict) or name not in example:
    raise _no_field(name, example if isinstance(example, dict) else (), where)
  text = example[name] or ""
  if not isinstance(text, str):
    raise InputError(f"{where}: data.text_field={name!r} is no text: {text!r}")
  return text


def _no_field(name: str, names: Iterable[str], where) -> InputError:
  fields = ", ".join(names) or "none"
  return InputError(
    f"{where} has no field data.text_field={name!r}; its fields: {fields}"
  )


_READERS = {
  "tfds": _read_tfds,
  "text": _read_text,
  "jsonl": _read_jsonl,
  "parquet": _read_parquet,
}
