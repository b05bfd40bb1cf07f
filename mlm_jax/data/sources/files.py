"""Corpora of files: globs, local and remote paths, compression, identity."""

import contextlib
import glob
import gzip
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow

from mlm_jax.config import DataConfig
from mlm_jax.data.sources.documents import Document, Report
from mlm_jax.errors import InputError

# A longer document is cut into several, so that memory stays bounded.
MAX_DOCUMENT_CHARS = 1 << 20

# What opening or reading an unreadable or damaged file raises.
READ_ERRORS = (OSError, EOFError, zlib.error, pyarrow.ArrowException)

# Bytes requested from gs:// at a time.
_REMOTE_BUFFER = 1 << 22

# A file up to this length is hashed as a whole, a longer one at its ends.
_MOST_HASHED = 1 << 22
_HASHED_BYTES = 1 << 16

# What the hash of a long file begins with that is of all of it.
WHOLE = "whole-"


class FileFormat:
  """A corpus format whose documents are in files, one file after the other.

  Args:
    read: yields the documents of a file, given what is open for reading its
      bytes, its path and `DataConfig`.
    find: globs -> the paths of the files.
  """

  def __init__(
    self,
    read: Callable[[Any, str, DataConfig], Iterator[Document]],
    find: Callable[[str], list[str]] | None = None,
  ):
    self._read = read
    self.paths = find or matching

  def __call__(self, globs: str, data: DataConfig) -> Iterator[Document]:
    """Yields the documents of all files."""
    yield from self.documents(self.paths(globs), data, Report())

  def documents(
    self, paths: Iterable[str], data: DataConfig, report: Report
  ) -> Iterator[Document]:
    """Yields the documents of some files; reports the bytes that were read."""
    for path in paths:
      before = report.bytes_read
      with _reading(path) as (file, raw):
        for document in self._read(file, path, data):
          report.bytes_read = before + raw.tell()
          yield document
      report.bytes_read = before + size(path)

  def identity(self, globs: str, data: DataConfig) -> list[str]:
    """Returns the name and a hash of each file.

    The hash is of the content; of a file over 4 MiB, unless `data.hash_whole`,
    it is of both ends, its length and the time of its last change.
    """
    return [
      f"{os.path.basename(path)}:{_digest(path, data.hash_whole)}"
      for path in self.paths(globs)
    ]


def matching(globs: str) -> list[str]:
  """Returns the files that match comma-separated globs, each of them once.

  A folder stands for all files in it, but for those that begin with . or _.
  The files of each glob are sorted; the globs keep their order.

  Raises:
    InputError: a glob matches no file.
  """
  patterns = globs.split(",")
  found = [sorted(_glob(pattern)) for pattern in patterns]
  if len(patterns) > 1 and not all(found) and (whole := sorted(_glob(globs))):
    return whole  # With commas in its name.
  for pattern, paths in zip(patterns, found, strict=True):
    if not paths:
      raise InputError(f"data.corpus: no file matches {pattern!r}")
  # Links and overlapping globs may lead to one file twice.
  by_file = {}
  for path in (path for paths in found for path in paths):
    by_file.setdefault(path if "://" in path else os.path.realpath(path), path)
  return list(by_file.values())


def size(path: str) -> int:
  """Returns the bytes of a file, as it is stored."""
  if "://" not in path:
    return os.path.getsize(path)
  from mlm_jax.data.host_tensorflow import tf

  return tf.io.gfile.stat(path).length


@contextlib.contextmanager
def _reading(path: str) -> Iterator[tuple[io.BufferedIOBase, io.IOBase]]:
  """Opens a file for reading bytes; .gz and .zst files are decompressed.

  Yields what to read from, and the file as it is stored.

  Raises:
    InputError: it cannot be opened, or read to its end; names it.
  """
  try:
    with _open(path) as raw, decompressed(raw, path) as file:
      yield file, raw
  except READ_ERRORS as error:
    reason = getattr(error, "strerror", None) or str(error)
    raise InputError(
      f"cannot read {path}: {reason.strip().partition(chr(10))[0]}"
    ) from error


def decompressed(file: io.BufferedIOBase, path: str) -> io.BufferedIOBase:
  """Returns what reads an open file; .gz and .zst files are decompressed."""
  if path.endswith(".gz"):
    return gzip.open(file)
  if path.endswith(".zst"):
    source = pyarrow.PythonFile(file, mode="r")
    return io.BufferedReader(pyarrow.CompressedInputStream(source, "zstd"))
  return file


def _glob(pattern: str) -> list[str]:
  """Returns the files that a pattern matches, and those of its folders."""
  if "://" not in pattern:
    found = glob.glob(os.path.expanduser(pattern), recursive=True)
    return [file for path in found for file in _files(path)]
  from mlm_jax.data.host_tensorflow import tf

  gfile = tf.io.gfile
  found = []
  for path in gfile.glob(pattern):
    if not gfile.isdir(path):
      found.append(path)
    elif "**" not in pattern:
      found += _in_folder(gfile.walk(path))
  return found


def _files(path: str) -> list[str]:
  if not os.path.isdir(path):
    return [path]
  # Links to folders are not followed: they may go round in circles.
  return _in_folder(os.walk(path))


def _in_folder(walk: Iterable[tuple[str, list[str], list[str]]]) -> list[str]:
  is_hidden = lambda folder, top: any(
    part.startswith(".") for part in folder.removeprefix(top).split("/")
  )
  found, top = [], None
  for folder, _, names in walk:
    top = folder if top is None else top
    if not is_hidden(folder, top):
      found += [
        os.path.join(folder, name) for name in names if name[:1] not in "._"
      ]
  return found


def _digest(path: str, whole: bool) -> str:
  """Returns a hash of what identifies the content of a file."""
  with _open(path) as file:
    length = file.seek(0, os.SEEK_END)
    digest = hashlib.blake2b(str(length).encode(), digest_size=8)
    starts = (0, max(0, length - _HASHED_BYTES))
    size = _HASHED_BYTES
    if whole or length <= _MOST_HASHED:
      starts, size = range(0, length, _REMOTE_BUFFER), _REMOTE_BUFFER
    else:
      digest.update(str(_last_change(path)).encode())
    for start in starts:
      file.seek(start)
      digest.update(file.read(size))
  mark = WHOLE if whole and length > _MOST_HASHED else ""
  return mark + digest.hexdigest()


def _last_change(path: str) -> int:
  if "://" not in path:
    return os.stat(path).st_mtime_ns
  from mlm_jax.data.host_tensorflow import tf

  return tf.io.gfile.stat(path).mtime_nsec


def _open(path: str) -> io.BufferedIOBase:
  if "://" in path:
    return io.BufferedReader(_RemoteFile(path), _REMOTE_BUFFER)
  return open(path, "rb")


class _RemoteFile(io.RawIOBase):
  """A file behind a URL, as a raw stream of Python's io."""

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
