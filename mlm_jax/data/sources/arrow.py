"""`arrow:GLOBS`: Arrow datasets, as save_to_disk of Hugging Face writes them.

A folder of such a dataset stands for its *.arrow files. Of several splits, such
as train and test, each has a folder of its own.
"""

from collections.abc import Iterable, Iterator

import pyarrow

from mlm_jax.config import DataConfig
from mlm_jax.data.sources import files
from mlm_jax.data.sources.documents import Document
from mlm_jax.data.sources.fields import TextField
from mlm_jax.errors import InputError, require

_SUFFIX = ".arrow"


def _read(file, path: str, data: DataConfig) -> Iterator[Document]:
  """Yields the text column of each row."""
  field = TextField(data.text_field)
  table = _open(path, file)
  columns = field.columns(table.schema.names, path)
  batches = (batch.select(columns) for batch in _batches(table))
  yield from documents(batches, field, path)


def documents(
  batches: Iterable[pyarrow.RecordBatch], field: TextField, path: str
) -> Iterator[Document]:
  """Yields the text of each row of some batches."""
  number = 1
  for batch in batches:
    for row in batch.to_pylist():
      yield Document(
        field.text(row, f"{path} row {number}"), path, number, "row"
      )
      number += 1


def _files(globs: str) -> list[str]:
  """Returns the Arrow files; beside them, a dataset has others."""
  matched = files.matching(globs)
  found = [path for path in matched if path.endswith(_SUFFIX)]
  require(found, f"data.corpus: no {_SUFFIX} files in arrow:{globs}")
  splits = [path for path in matched if path.endswith("dataset_dict.json")]
  require(
    not splits,
    f"data.corpus: arrow:{globs} has several splits: name the folder of one",
  )
  return found


def _open(path: str, file):
  """Opens a stream, as datasets are written, or else a file."""
  is_file = file.peek(6)[:6] == b"ARROW1"
  open_ = pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream
  try:
    return open_(file)
  except pyarrow.ArrowInvalid as error:
    raise InputError(f"{path} is not an Arrow file: {error}") from error


def _batches(table) -> Iterator[pyarrow.RecordBatch]:
  if isinstance(table, pyarrow.ipc.RecordBatchStreamReader):
    yield from table
    return
  for number in range(table.num_record_batches):
    yield table.get_batch(number)


read = files.FileFormat(_read, _files)
