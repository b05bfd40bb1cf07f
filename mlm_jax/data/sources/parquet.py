"""`parquet:GLOBS`: Parquet files with a text column, `data.text_field`."""

from collections.abc import Iterator

import pyarrow
import pyarrow.parquet

from mlm_jax.config import DataConfig
from mlm_jax.data.sources import arrow, files
from mlm_jax.data.sources.documents import Document
from mlm_jax.data.sources.fields import TextField
from mlm_jax.errors import InputError

# Rows decoded at a time.
_BATCH_ROWS = 1024


@files.FileFormat
def read(file, path: str, data: DataConfig) -> Iterator[Document]:
  """Yields the text column of each row."""
  field = TextField(data.text_field)
  try:
    table = pyarrow.parquet.ParquetFile(file)
  except pyarrow.ArrowInvalid as error:
    raise InputError(f"{path} is not a Parquet file: {error}") from error
  columns = field.columns(table.schema_arrow.names, path)
  batches = table.iter_batches(_BATCH_ROWS, columns=columns)
  yield from arrow.documents(batches, field, path)
