"""`text:GLOBS`: plain UTF-8 text, cut at `data.document_boundary`."""

import codecs
import re
from collections.abc import Callable, Iterator

from mlm_jax.config import DataConfig
from mlm_jax.data.sources import files
from mlm_jax.errors import InputError

_WIKITEXT_TITLE = re.compile(r" = [^=].* = \n?")

# Kind of boundary -> (function of a line: does a document end before it?, is
# that line text of the next document?)
_BOUNDARIES: dict[str, tuple[Callable[[str], object], bool]] = {
  "blank_line": (lambda line: not line.strip(), False),
  "file": (lambda line: False, True),
  "wikitext": (_WIKITEXT_TITLE.fullmatch, True),
}


def read(globs: str, data: DataConfig) -> Iterator[str]:
  """Yields the documents of text files."""
  ends_before, is_text = _BOUNDARIES[data.document_boundary]
  for path in files.matching(globs):
    lines, size = [], 0
    for line in _lines(path):
      if "\0" in line:
        raise InputError(f"{path} is binary, not text")
      ends = ends_before(line)
      if ends or size >= files.MAX_DOCUMENT_CHARS:
        yield "".join(lines)
        lines, size = [], 0
      if ends and not is_text:
        continue
      lines.append(line)
      size += len(line)
    yield "".join(lines)


read.identity = files.identity


def _lines(path: str) -> Iterator[str]:
  """Yields lines, longer ones in parts of `MAX_DOCUMENT_CHARS` bytes."""
  with files.open_decompressed(path) as file:
    number = 1
    decoder = codecs.getincrementaldecoder("utf-8")()
    while line := file.readline(files.MAX_DOCUMENT_CHARS):
      try:
        yield decoder.decode(line, final=line.endswith(b"\n"))
      except UnicodeDecodeError as error:
        raise InputError(
          f"{path} line {number} is not UTF-8 text: {error.reason}"
        ) from error
      number += line.endswith(b"\n")
    if decoder.getstate()[0]:
      raise InputError(
        f"{path} line {number} is not UTF-8 text: it ends within a character"
      )
