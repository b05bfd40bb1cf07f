"""Documents as they are read: their origin, and invalid text in them."""

import dataclasses
from typing import NamedTuple

from mlm_jax.errors import InputError

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class Document(NamedTuple):
  """What a corpus format yields, in place of a string alone.

  Attributes:
    text: the text, or None where an example has none. Bytes that are not UTF-8
      are lone surrogates in it, as Python's surrogateescape makes them.
    path: the file, or whatever messages should name.
    number: of the line, or of the row, with which it begins.
    unit: what is counted.
  """

  text: str | None
  path: str
  number: int
  unit: str = "line"


@dataclasses.dataclass
class Report:
  """How far a corpus was read, and the missing and invalid text found there.

  Attributes:
    bytes_read: of its files, as they are stored; 0 of what is no file.
    nulls: the number of examples without a text.
    bad: the number of documents with invalid text.
    first_bad: file, line and description of the first invalid text.
  """

  bytes_read: int = 0
  nulls: int = 0
  bad: int = 0
  first_bad: str = ""

  def take(self) -> "Report":
    """Returns a copy; what is found in the text is counted anew."""
    taken = dataclasses.replace(self)
    self.nulls, self.bad, self.first_bad = 0, 0, ""
    return taken


class Cleaner:
  """Replaces invalid text, skips documents that have it, or refuses them.

  Invalid are bytes that are not UTF-8, NUL characters and unpaired surrogates.

  Args:
    on_bad_text: data.on_bad_text.
    report: counts what was found.
  """

  def __init__(self, on_bad_text: str, report: Report):
    self._on_bad_text, self._report = on_bad_text, report

  def clean(self, document: Document) -> str | None:
    """Returns the text of a document, None where it is to be left out.

    Raises:
      InputError: data.on_bad_text is "error", and it has invalid text.
    """
    text = document.text
    if text is None:
      self._report.nulls += 1
      return None
    start = _first_bad(text)
    if start < 0:
      return text
    found = f"{_place(document, start)} has {_name(text[start])}"
    if self._on_bad_text == "error":
      raise InputError(
        f"{found}: correct it, or set data.on_bad_text to 'replace' or 'skip'"
      )
    self._report.bad += 1
    self._report.first_bad = self._report.first_bad or found
    return None if self._on_bad_text == "skip" else _replaced(text)


def _first_bad(text: str) -> int:
  """Returns where the first bad character is, -1 if there is none."""
  nul = text.find("\0")
  try:
    text.encode()
  except UnicodeEncodeError as error:
    return min(nul, error.start) if nul >= 0 else error.start
  return nul


def _replaced(text: str) -> str:
  text = text.replace("\0", _REPLACEMENT)
  # Pairs whose halves were written apart are whole characters.
  return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _place(document: Document, start: int) -> str:
  number = document.number
  if document.unit == "line":
    number += document.text.count("\n", 0, start)
  return f"{document.path} {document.unit} {number}"


def _name(character: str) -> str:
  if character == "\0":
    return "a NUL character"
  code = ord(character)
  if 0xDC80 <= code <= 0xDCFF:
    return f"a byte that is not UTF-8 (0x{code - 0xDC00:02x})"
  return f"half of a surrogate pair (U+{code:04X})"
