"""Corpora: from `data.corpus` to a stream of documents.

`data.corpus` is "FORMAT:SPEC". FORMAT names an entry of
`registry.CORPUS_FORMATS`, a function that streams the documents of SPEC in a
fixed order:

    def read(spec: str, data: DataConfig) -> Iterator[str | Document]: ...

A `documents.Document` also says where its text is from.

A recipe file may add a format of its own, without a change to the package:

    @registry.CORPUS_FORMATS.register("mine")
    def read(spec, data): ...

Prepared rows are shared and reused while the corpus keeps its identity. A
format may define it as a function attribute, `read.identity(spec, data)`, a
list of strings that change with the content. Without one the identity is
`data.corpus` itself: content that changes under the same SPEC goes unnoticed,
so change the SPEC (say, to "mine:v2") to prepare such a corpus again.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from mlm_jax import registry
from mlm_jax.config import DataConfig
from mlm_jax.data.sources import files
from mlm_jax.data.sources.documents import Cleaner, Document, Report
from mlm_jax.data.sources.files import FileFormat
from mlm_jax.errors import InputError, require, unknown

_GROUP_BYTES = 1 << 28


class Group(NamedTuple):
  """A part of a corpus.

  Attributes:
    paths: its files, None where there are no files.
    size: their bytes as they are stored, 0 if unknown.
  """

  paths: list[str] | None = None
  size: int = 0


def read_documents(
  data: DataConfig,
  report: Report | None = None,
  paths: Sequence[str] | None = None,
) -> Iterator[str]:
  """Yields the documents of `data.corpus` in a fixed order.

  Documents are stripped, and cut into equal parts where they are longer than
  `files.MAX_DOCUMENT_CHARS`; empty ones are left out. `data.on_bad_text`
  decides on invalid text.

  Args:
    data: names the corpus.
    report: what was found is added to it.
    paths: some of its files, see `groups`; by default it is read as a whole.

  Raises:
    InputError: an unknown format, no matching file, no such field, no text.
  """
  read, spec = _format_and_spec(data.corpus)
  report = report or Report()
  cleaner = Cleaner(data.on_bad_text, report)
  empty = paths is None
  with _input_errors(data.corpus):
    if isinstance(read, FileFormat):
      found = read.documents(paths or read.paths(spec), data, report)
    else:
      found = read(spec, data)
    for number, document in enumerate(found, 1):
      if not isinstance(document, Document):
        require(
          isinstance(document, str),
          f"data.corpus={data.corpus!r}: its format must yield strings, "
          f"not {type(document).__name__}",
        )
        document = Document(document, data.corpus, number, "document")
      for text in _parts(cleaner.clean(document)):
        empty = False
        yield text
  require(not empty, f"data.corpus={data.corpus!r} holds no text")


def _parts(text: str | None) -> Iterator[str]:
  """Yields a text, or equal parts of it where it is too long."""
  text = (text or "").strip()
  count = -(-len(text) // files.MAX_DOCUMENT_CHARS)
  for part in range(count):
    cut = text[part * len(text) // count : (part + 1) * len(text) // count]
    if stripped := cut.strip():
      yield stripped


def groups(data: DataConfig) -> list[Group]:
  """Returns what a corpus consists of, in order.

  A group is of files that follow each other, `_GROUP_BYTES` or one file; what
  is not in files is one group. Groups are read by themselves, maybe by several
  machines.

  Raises:
    InputError: an unknown format, or no matching file.
  """
  read, spec = _format_and_spec(data.corpus)
  if not isinstance(read, FileFormat):
    return [Group()]
  found, paths, size = [], [], 0
  with _input_errors(data.corpus):
    for path in read.paths(spec):
      paths.append(path)
      size += files.size(path)
      if size >= _GROUP_BYTES:
        found.append(Group(paths, size))
        paths, size = [], 0
  return found + ([Group(paths, size)] if paths else [])


def identity(data: DataConfig) -> list[str]:
  """Returns what distinguishes this corpus: its files, or its version.

  Raises:
    InputError: an unknown format, no matching file, or an unreadable one.
  """
  read, spec = _format_and_spec(data.corpus)
  if not hasattr(read, "identity"):
    return [data.corpus]
  with _input_errors(data.corpus):
    return read.identity(spec, data)


def _format_and_spec(corpus: str) -> tuple[Callable, str]:
  require(
    corpus,
    "no corpus: set --config.data.corpus, for example to 'text:my/*.txt' or "
    "'tfds:wikipedia/20230601.en'",
  )
  formats = registry.CORPUS_FORMATS
  name, colon, spec = corpus.partition(":")
  if not colon or name not in formats:
    raise unknown("data.corpus", corpus, [f"{name}:..." for name in formats])
  return formats[name], spec


@contextlib.contextmanager
def _input_errors(corpus: str) -> Iterator[None]:
  """Turns what an unreadable or damaged file raises into InputError."""
  try:
    yield
  except files.READ_ERRORS as error:
    raise InputError(f"cannot read data.corpus={corpus!r}: {error}") from error
