"""Files behind a URL, which TensorFlow reads; ram:// stands in for gs://."""

import gzip
import io

import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf

from mlm_jax.config import DataConfig
from mlm_jax.data import sources
from mlm_jax.errors import InputError

TEXTS = ["one two", "three\nfour", "five " * 5_000]
BLANK_LINES = "\n\n".join(TEXTS).encode()


def parquet(texts):
  file = io.BytesIO()
  pyarrow.parquet.write_table(pyarrow.table({"text": texts}), file)
  return file.getvalue()


@pytest.mark.parametrize(
  ("kind", "name", "data"),
  [
    ("text", "a.txt", BLANK_LINES),
    ("text", "a.txt.gz", gzip.compress(BLANK_LINES, mtime=0)),
    ("text", "a.txt.zst", pyarrow.compress(BLANK_LINES, "zstd", asbytes=True)),
    ("parquet", "a.parquet", parquet(TEXTS)),
  ],
)
def test_remote_files_yield_the_documents_of_local_ones(kind, name, data):
  with tf.io.gfile.GFile(f"ram://{kind}/{name}", "wb") as file:
    file.write(data)
  config = DataConfig(corpus=f"{kind}:ram://{kind}/*{name.partition('.')[2]}")
  expected = [text.strip() for text in TEXTS]
  assert list(sources.read_documents(config)) == expected
  (identity,) = sources.identity(config)
  assert identity.startswith(name)


def test_missing_remote_file_raises_input_error():
  config = DataConfig(corpus="text:ram://nowhere/*.txt")
  with pytest.raises(InputError, match="no file matches"):
    list(sources.read_documents(config))
