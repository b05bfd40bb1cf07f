"""`parquet:GLOBS`: Parquet files with a text column, `data.text_field`."""

from collections.abc import Iterator

import pyarrow
import pyarrow.parquet

from mlm_jax.config import DataConfig
from mlm_jax.data.sources import files
from mlm_jax.data.sources.fields import missing_field
from mlm_jax.errors import InputError

# Rows decoded at a time.
_BATCH_ROWS = 1024


def read(globs: str, data: DataConfig) -> Iterator[str]:
  """Yields the text column of each row; null counts as empty."""
  for path in files.matching(globs):
    with files.open_decompressed(path) as file:
      try:
        table = pyarrow.parquet.ParquetFile(file)
      except pyarrow.ArrowInvalid as error:
        raise InputError(f"{path} is not a Parquet file: {error}") from error
      columns = table.schema_arrow.names
      if data.text_field not in columns:
        raise missing_field(data.text_field, columns, path)
      for batch in table.iter_batches(_BATCH_ROWS, columns=[data.text_field]):
        yield from (str(text) for text in batch.column(0).to_pylist() if text)


read.identity = files.identity
