"""`jsonl:GLOBS`: a JSON object a line with a text field, `data.text_field`."""

import json
from collections.abc import Iterator

from mlm_jax.config import DataConfig
from mlm_jax.data.sources import files
from mlm_jax.data.sources.documents import Document
from mlm_jax.data.sources.fields import TextField, missing_field
from mlm_jax.errors import InputError

_MARK = b"\xef\xbb\xbf"  # Of the byte order.


@files.FileFormat
def read(file, path: str, data: DataConfig) -> Iterator[Document]:
  """Yields the text field of each line that is not blank."""
  field = TextField(data.text_field)
  for number, line in enumerate(file, 1):
    if number == 1:
      line = line.removeprefix(_MARK)
    if line.strip():
      text = _text(line, field, data.text_field, f"{path} line {number}")
      yield Document(text, path, number, "row")


def _text(line: bytes, field: TextField, name: str, where: str) -> str | None:
  try:
    example = json.loads(line.decode(errors="surrogateescape"))
  except (ValueError, RecursionError) as error:
    raise InputError(f"{where} is not JSON: {error}") from error
  if not isinstance(example, dict):
    raise missing_field(name, (), where)
  return field.text(example, where)
