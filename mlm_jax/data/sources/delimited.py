"""`csv:GLOBS` and `tsv:GLOBS`: tables whose first line names their columns."""

import csv
import io
import sys
from collections.abc import Iterator

from mlm_jax.config import DataConfig
from mlm_jax.data.sources import files
from mlm_jax.data.sources.documents import Document
from mlm_jax.data.sources.fields import TextField
from mlm_jax.errors import InputError

# Python's limit of 131,072 characters is for those who trust nobody.
csv.field_size_limit(sys.maxsize)


@files.FileFormat
def read_csv(file, path: str, data: DataConfig) -> Iterator[Document]:
  """Yields the text column of each row; commas separate columns."""
  yield from _read(file, path, data, ",")


@files.FileFormat
def read_tsv(file, path: str, data: DataConfig) -> Iterator[Document]:
  """Yields the text column of each row; tabs separate columns."""
  yield from _read(file, path, data, "\t")


def _read(
  file, path: str, data: DataConfig, delimiter: str
) -> Iterator[Document]:
  field = TextField(data.text_field)
  # The csv module wants line ends as they are, also within quotes.
  lines = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
  reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
  try:
    field.columns(reader.fieldnames or (), path)
    start = reader.line_num + 1
    for row in reader:
      text = field.text(row, f"{path} line {start}")
      yield Document(text, path, start)
      start = reader.line_num + 1
  except csv.Error as error:
    raise InputError(f"{path} line {start}: {error}") from error
