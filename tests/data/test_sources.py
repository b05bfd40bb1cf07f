"""Readers yield each document whole, once and in order, or raise InputError."""

import gzip
import inspect
import json
import os
import random
import shutil
import types

import pyarrow
import pyarrow.parquet
import pytest

from mlm_jax.config import DataConfig
from mlm_jax.data import python_docs, sources
from mlm_jax.data.sources import files
from mlm_jax.errors import InputError


def read(name, **options):
  return list(sources.read_documents(DataConfig(corpus=name, **options)))


def without_space(text):
  return "".join(text.split())


@pytest.mark.parametrize(
  ("boundary", "documents"),
  [
    ("blank_line", ["one\ntwo", "= Title = \nthree", "four"]),
    ("file", ["one\ntwo\n\n = Title = \nthree\n \t\nfour"]),
    ("wikitext", ["one\ntwo", "= Title = \nthree\n \t\nfour"]),
  ],
)
def test_documents_end_at_the_boundary(tmp_path, boundary, documents):
  (tmp_path / "a.txt").write_text("one\ntwo\n\n = Title = \nthree\n \t\nfour")
  found = read(f"text:{tmp_path}/a.txt", document_boundary=boundary)
  assert found == documents


def test_wikitext_sections_do_not_end_a_document(tmp_path):
  text = " = Title = \n\nbody\n\n = = Section = = \n\nmore\n"
  (tmp_path / "wiki").write_text(text)
  found = read(f"text:{tmp_path}/wiki", document_boundary="wikitext")
  assert found == [text.strip()]


def test_documents_end_at_the_end_of_a_file(tmp_path):
  for name in "ab":
    (tmp_path / name).write_text(f"of {name}")
  for boundary in ("blank_line", "file", "wikitext"):
    found = read(f"text:{tmp_path}/*", document_boundary=boundary)
    assert found == ["of a", "of b"]


@pytest.mark.parametrize("boundary", ["blank_line", "file", "wikitext"])
def test_long_documents_are_cut_without_loss(tmp_path, monkeypatch, boundary):
  monkeypatch.setattr(files, "MAX_DOCUMENT_CHARS", 100)
  text = "\n".join(f"line {i} ends" for i in range(200)) + "\n\nanother one"
  (tmp_path / "long.txt").write_text(text)
  found = read(f"text:{tmp_path}/long.txt", document_boundary=boundary)
  assert max(map(len, found)) <= 100
  assert without_space("".join(found)) == without_space(text)


@pytest.mark.parametrize("offset", ["", "a", "ab", "abc"])
def test_long_lines_are_not_cut_within_a_character(
  tmp_path, monkeypatch, offset
):
  monkeypatch.setattr(files, "MAX_DOCUMENT_CHARS", 64)
  text = offset + "é🙂東" * 200
  (tmp_path / "line.txt").write_text(text)
  assert "".join(read(f"text:{tmp_path}/line.txt")) == text


def test_jsonl_and_parquet_yield_the_named_field_in_order(tmp_path):
  bodies = [f"body {i}\n\nand more" for i in range(3000)]
  (tmp_path / "a.jsonl").write_text(
    "".join(json.dumps({"id": 1, "body": body}) + "\n" for body in bodies)
  )
  table = pyarrow.table({"body": bodies, "id": range(3000)})
  pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=700)
  for kind in ("jsonl", "parquet"):
    found = read(f"{kind}:{tmp_path}/a.{kind}", text_field="body")
    assert found == bodies


def test_empty_fields_yield_no_documents(tmp_path):
  (tmp_path / "a.jsonl").write_text(
    '{"text": null}\n{"text": " "}\n{"text": "x"}\n'
  )
  table = pyarrow.table({"text": [None, " ", "x"]})
  pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
  for kind in ("jsonl", "parquet"):
    assert read(f"{kind}:{tmp_path}/a.{kind}") == ["x"]


def compress_zst(data):
  """Two frames, as parallel compressors and `cat` write them."""
  half = len(data) // 2
  compress = lambda data: pyarrow.compress(data, "zstd", asbytes=True)
  return compress(data[:half]) + compress(data[half:])


COMPRESSORS = {"gz": gzip.compress, "zst": compress_zst}


@pytest.mark.parametrize("suffix", COMPRESSORS)
@pytest.mark.parametrize("kind", ["text", "jsonl"])
def test_compressed_files_yield_the_same_documents(tmp_path, kind, suffix):
  documents = [f"document {i}" for i in range(20_000)]
  lines = documents
  if kind == "jsonl":
    lines = [json.dumps({"text": text}) for text in documents]
  path = tmp_path / f"a.{kind}.{suffix}"
  separator = "\n" if kind == "jsonl" else "\n\n"
  path.write_bytes(COMPRESSORS[suffix](separator.join(lines).encode()))
  assert read(f"{kind}:{path}") == documents


@pytest.mark.parametrize("suffix", COMPRESSORS)
def test_truncated_compressed_file_raises_input_error(tmp_path, suffix):
  """As after an interrupted download."""
  noise = random.Random(0).randbytes(400_000).hex().encode()
  (tmp_path / f"a.{suffix}").write_bytes(COMPRESSORS[suffix](noise)[:-5000])
  with pytest.raises(InputError, match="cannot read"):
    read(f"text:{tmp_path}/a.{suffix}")


def test_files_are_sorted_within_a_glob_and_globs_keep_their_order(tmp_path):
  names = [f"{i:02}.txt" for i in range(12)]
  for name in reversed(names):
    (tmp_path / name).write_text(name)
  (tmp_path / "other").write_text("other")
  (tmp_path / "dir.txt").mkdir()
  assert read(f"text:{tmp_path}/*.txt") == names
  found = read(f"text:{tmp_path}/other,{tmp_path}/*.txt")
  assert found == ["other", *names]


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("text:a", b"abc\0def", "binary"),
    ("text:a", b"caf\xe9 au lait", "line 1 is not UTF-8"),
    ("text:a", b" \n\n \n", "holds no text"),
    ("text:b", b"x", "data.corpus.*no file matches"),
    ("text:a,b", b"x", "no file matches"),
    ("text:a.gz", b"not gzip", "cannot read"),
    ("text:a.zst", b"not zstd", "cannot read"),
    ("jsonl:a", b'{"text": "x"}\n{"text"', "line 2 is not JSON"),
    ("jsonl:a", b'{"title": 1, "body": 2}', "its fields: title, body"),
    ("jsonl:a", b'["text"]', "no field"),
    ("jsonl:a", b'{"text": 5}', "data.text_field"),
    ("parquet:a", b"PAR1 not", "not a Parquet file"),
    ("jsnl:a", b"x", "did you mean 'jsonl:...'"),
    ("a", b"x", "data.corpus.*known: tfds:..., text:..."),
    ("", b"x", "set --config.data.corpus"),
  ],
)
def test_invalid_corpora_raise_input_error_of_one_line(
  tmp_path, monkeypatch, name, content, message
):
  monkeypatch.chdir(tmp_path)
  for file in ("a", "a.gz", "a.zst"):
    (tmp_path / file).write_bytes(content)
  with pytest.raises(InputError, match=message) as raised:
    read(name)
  assert "\n" not in str(raised.value)


def test_missing_parquet_column_lists_the_columns(tmp_path):
  table = pyarrow.table({"title": ["a"], "body": ["b"]})
  pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
  with pytest.raises(InputError, match="'text'; its fields: title, body"):
    read(f"parquet:{tmp_path}/a.parquet")


@pytest.fixture(scope="module")
def tfds_data_dir(tmp_path_factory):
  """Holds python_docs of one package of the standard library: all is slow."""
  stdlib = tmp_path_factory.mktemp("stdlib")
  shutil.copytree(os.path.dirname(json.__file__), stdlib / "json")
  (stdlib / "broken.py").write_text('"""Broken."""\ndef (')
  (stdlib / "site-packages").mkdir()
  (stdlib / "site-packages" / "theirs.py").write_text('"""Not of Python."""')
  data_dir = str(tmp_path_factory.mktemp("tfds"))
  with pytest.MonkeyPatch.context() as patch:
    paths = types.SimpleNamespace(get_path=lambda name: str(stdlib))
    patch.setattr(python_docs, "sysconfig", paths)
    sources.identity(
      DataConfig(corpus="tfds:python_docs", tfds_data_dir=data_dir)
    )
  return data_dir


def test_python_docs_contain_topics_and_docstrings(tfds_data_dir):
  from pydoc_data import topics

  found = read("tfds:python_docs", tfds_data_dir=tfds_data_dir)
  assert {text.strip() for text in topics.topics.values()} <= set(found)
  (decoder,) = [
    text for text in found if json.JSONDecoder.__doc__.split("\n")[0] in text
  ]
  assert inspect.getdoc(json.JSONDecoder.raw_decode) in decoder
  assert not any("Not of Python" in text for text in found)


def test_python_docs_have_a_fixed_order_and_can_be_sliced(tfds_data_dir):
  found = read("tfds:python_docs", tfds_data_dir=tfds_data_dir)
  assert read("tfds:python_docs:train", tfds_data_dir=tfds_data_dir) == found
  part = read("tfds:python_docs:train[:10%]", tfds_data_dir=tfds_data_dir)
  assert part == found[: len(part)]
  assert len(part) == pytest.approx(len(found) / 10, abs=1)


@pytest.mark.parametrize(
  ("name", "options", "message"),
  [
    ("tfds:python_docs:trian", {}, "did you mean 'train'"),
    ("tfds:python_docs", {"text_field": "body"}, "its fields: .*text"),
    ("tfds:python_doc", {}, "did you mean 'python_docs'"),
  ],
)
def test_invalid_tfds_names_raise_input_error(
  tfds_data_dir, name, options, message
):
  with pytest.raises(InputError, match=message):
    read(name, tfds_data_dir=tfds_data_dir, **options)
