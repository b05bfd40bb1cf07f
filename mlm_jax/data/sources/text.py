"""`text:GLOBS`: plain UTF-8 text, cut at `data.document_boundary`.

Or it is cut at lines of one's own, `data.document_separator`.
"""

import io
import re
from collections.abc import Callable, Iterator

from mlm_jax.config import DataConfig
from mlm_jax.data.sources import files
from mlm_jax.data.sources.documents import Document
from mlm_jax.errors import require

_WIKITEXT_TITLE = re.compile(r" = [^=].* = \n?")

# Kind of boundary -> (function of a line: does a document end before it?, is
# that line text of the next document?)
_BOUNDARIES: dict[str, tuple[Callable[[str], object], bool]] = {
  "blank_line": (lambda line: not line.strip(), False),
  "line": (lambda line: True, True),
  "file": (lambda line: False, True),
  "wikitext": (_WIKITEXT_TITLE.fullmatch, True),
}

# What is looked at of a file, to see that it is text, and how many of its bytes
# may be none.
_SAMPLE_BYTES = 1 << 16
_MOST_BAD = 0.1


@files.FileFormat
def read(file, path: str, data: DataConfig) -> Iterator[Document]:
  """Yields the documents of a text file.

  A document longer than `files.MAX_DOCUMENT_CHARS` is cut between two lines.
  """
  ends_before, is_text = _BOUNDARIES[data.document_boundary]
  if separator := data.document_separator.strip():
    ends_before, is_text = lambda line: line.strip() == separator, False
  _check_is_text(path, file)
  # Windows' and old Mac's line ends, too; without a byte-order mark.
  lines = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape")
  document, size, first, number = [], 0, 1, 1
  while line := lines.readline(files.MAX_DOCUMENT_CHARS):
    ends = ends_before(line)
    if ends or size + len(line) > files.MAX_DOCUMENT_CHARS:
      yield Document("".join(document), path, first)
      document, size, first = [], 0, number
    number += line.endswith("\n")
    if ends and not is_text:
      first = number
      continue
    document.append(line)
    size += len(line)
  yield Document("".join(document), path, first)


def _check_is_text(path: str, file: io.BufferedIOBase) -> None:
  """Raises InputError for a file that can hardly be UTF-8 text."""
  sample = file.peek(_SAMPLE_BYTES)[:_SAMPLE_BYTES]
  decoded = sample.decode(errors="surrogateescape")
  bad = sum(
    character == "\0" or "\udc80" <= character <= "\udcff"
    for character in decoded
  )
  require(
    bad <= _MOST_BAD * len(decoded),
    f"{path} is not UTF-8 text: {bad / max(1, len(decoded)):.0%} of its start "
    "is binary, or of another encoding",
  )
