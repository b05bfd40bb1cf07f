"""Files of a corpus: globs, local and remote paths, compression, identity."""

import glob
import gzip
import hashlib
import io
import os
import zlib

import pyarrow

from mlm_jax.config import DataConfig
from mlm_jax.errors import InputError

# A longer document is cut into several, so that memory stays bounded.
MAX_DOCUMENT_CHARS = 1 << 20

# What opening or reading an unreadable or damaged file raises.
READ_ERRORS = (OSError, EOFError, zlib.error, pyarrow.ArrowException)

# Bytes requested from gs:// at a time.
_REMOTE_BUFFER = 1 << 22

# Bytes hashed at a file's start and at its end.
_HASHED_BYTES = 1 << 16


def matching(globs: str) -> list[str]:
  """Returns the files that match comma-separated globs.

  The files of each glob are sorted; the globs keep their order.

  Raises:
    InputError: a glob matches no file.
  """
  paths = []
  for pattern in globs.split(","):
    found = sorted(_glob(pattern))
    if not found:
      raise InputError(f"data.corpus: no file matches {pattern!r}")
    paths += found
  return paths


def identity(globs: str, data: DataConfig) -> list[str]:
  """Returns the name and a content hash of each file of the corpus."""
  paths = matching(globs)
  return [f"{os.path.basename(path)}:{_digest(path)}" for path in paths]


def open_decompressed(path: str) -> io.BufferedIOBase:
  """Opens a file for reading bytes; .gz and .zst files are decompressed."""
  file = _open(path)
  if path.endswith(".gz"):
    return gzip.open(file)
  if path.endswith(".zst"):
    source = pyarrow.PythonFile(file, mode="r")
    return io.BufferedReader(pyarrow.CompressedInputStream(source, "zstd"))
  return file


def _glob(pattern: str) -> list[str]:
  if "://" not in pattern:
    found = glob.glob(os.path.expanduser(pattern), recursive=True)
    return [path for path in found if not os.path.isdir(path)]
  from mlm_jax.data.host_tensorflow import tf

  return [p for p in tf.io.gfile.glob(pattern) if not tf.io.gfile.isdir(p)]


def _digest(path: str) -> str:
  """Returns a hash of a file's length and ends, without a full read."""
  with _open(path) as file:
    length = file.seek(0, os.SEEK_END)
    digest = hashlib.blake2b(str(length).encode(), digest_size=8)
    for start in (0, max(0, length - _HASHED_BYTES)):
      file.seek(start)
      digest.update(file.read(_HASHED_BYTES))
  return digest.hexdigest()


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
