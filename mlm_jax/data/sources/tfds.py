"""`tfds:NAME[/CONFIG][:SPLIT]`: datasets of TensorFlow Datasets."""

import contextlib
import difflib
import io
from collections.abc import Iterator

import tensorflow_datasets as tfds

from mlm_jax.config import DataConfig
from mlm_jax.data import (
  host_tensorflow,
  python_docs,  # noqa: F401  registers the builder
)
from mlm_jax.data.sources.documents import Document
from mlm_jax.data.sources.fields import TextField
from mlm_jax.errors import InputError, first_line, unknown


def read(spec: str, data: DataConfig) -> Iterator[Document]:
  """Yields the text feature of each example, in the order of the files."""
  builder, split = _builder_and_split(spec, data)
  field = TextField(data.text_field)
  columns = field.columns(builder.info.features, spec)
  examples = builder.as_dataset(
    split=split,
    shuffle_files=False,
    decoders=tfds.decode.PartialDecoding(dict.fromkeys(columns, True)),
    # One file after the other: the order does not depend on threads.
    read_config=tfds.ReadConfig(interleave_cycle_length=1),
  )
  for number, example in enumerate(examples.as_numpy_iterator(), 1):
    text = field.text(example, f"{spec} example {number}")
    yield Document(text, spec, number, "example")


def _identity(spec: str, data: DataConfig) -> list[str]:
  """Returns the full name, with configuration and version, and the split."""
  builder, split = _builder_and_split(spec, data)
  return [builder.info.full_name, split]


read.identity = _identity


def _builder_and_split(
  spec: str, data: DataConfig
) -> tuple[tfds.core.DatasetBuilder, str]:
  """Returns the builder of a dataset, prepared on disk, and a split of it."""
  host_tensorflow.load()
  tfds.disable_progress_bar()
  name, _, split = spec.partition(":")
  try:
    builder = tfds.builder(name, data_dir=data.tfds_data_dir or None)
    if not builder.is_prepared():
      print(f"Making the dataset {name} in {builder.data_dir}", flush=True)
      with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()
  except Exception as error:  # TFDS raises whatever its builders raise.
    reason = first_line(error)
    known = tfds.list_builders(with_community_datasets=False)
    near = difflib.get_close_matches(name, known, n=1)
    if near and near[0] != name:
      reason = f"did you mean {near[0]!r}?"
    raise InputError(
      f"data.corpus: tensorflow-datasets has no {name!r}: {reason}"
    ) from error
  split = split or "train"
  if split.partition("[")[0] not in builder.info.splits:
    raise unknown(f"split of {name}", split, builder.info.splits)
  return builder, split
