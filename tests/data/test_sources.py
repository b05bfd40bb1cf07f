"""Readers yield each document whole, once and in order, or raise InputError."""

import csv
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

from mlm_jax.config import DataConfig, SourceConfig
from mlm_jax.data import python_docs, sources
from mlm_jax.data.sources import files
from mlm_jax.data.sources.documents import Report
from mlm_jax.errors import InputError


def read(name, **options):
  return list(sources.read_documents(DataConfig(corpus=name, **options)))


def without_space(text):
  return "".join(text.split())


@pytest.mark.parametrize(
  ("boundary", "documents"),
  [
    ("blank_line", ["one\ntwo", "= Title = \nthree", "four"]),
    ("line", ["one", "two", "= Title =", "three", "four"]),
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


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_documents_may_end_at_a_line_of_ones_own(tmp_path, end):
  lines = ["a", "", "b", "<|end|>", "c", " <|end|> ", "<|end|>", "d <|end|>"]
  (tmp_path / "a.txt").write_bytes(end.join(lines).encode())
  found = read(f"text:{tmp_path}/a.txt", document_separator="<|end|>")
  assert found == ["a\n\nb", "c", "d <|end|>"]


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
  (tmp_path / "b.txt").write_text("whole")
  with pytest.raises(InputError, match=rf"cannot read .*a\.{suffix}: "):
    read(f"text:{tmp_path}")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("boundary", ["blank_line", "line", "wikitext"])
def test_line_ends_of_any_system_are_one(tmp_path, boundary, end):
  text = " = One = \n\nbody\nmore\n\n = Two = \nbody\n"
  found = []
  for name, written in (("unix", text), ("other", text.replace("\n", end))):
    (tmp_path / name).write_bytes(written.encode())
    found.append(read(f"text:{tmp_path}/{name}", document_boundary=boundary))
  assert found[0] == found[1]
  assert len(found[0]) > 1


@pytest.mark.parametrize("kind", ["text", "jsonl", "csv"])
def test_a_byte_order_mark_is_no_text(tmp_path, kind):
  lines = {"text": "word", "jsonl": '{"text": "word"}', "csv": "text\nword"}
  (tmp_path / "a").write_bytes(b"\xef\xbb\xbf" + lines[kind].encode())
  assert read(f"{kind}:{tmp_path}/a") == ["word"]


def test_tables_and_datasets_yield_the_named_field_in_order(tmp_path):
  bodies = [f'body, "{i}"\n\tand more' for i in range(300)]
  for kind, delimiter in (("csv", ","), ("tsv", "\t")):
    with (tmp_path / f"a.{kind}").open("w", newline="") as file:
      writer = csv.writer(file, delimiter=delimiter)
      writer.writerow(["id", "body"])
      writer.writerows(enumerate(bodies))
  # As save_to_disk writes them: two files, and what they are.
  folder = tmp_path / "saved"
  folder.mkdir()
  (folder / "state.json").write_text("{}")
  for part in range(2):
    table = pyarrow.table({"body": bodies[150 * part :][:150]})
    path = str(folder / f"data-{part:05}-of-00002.arrow")
    with pyarrow.ipc.new_stream(path, table.schema) as stream:
      stream.write_table(table, max_chunksize=64)
  for spec in ("csv:{}/a.csv", "tsv:{}/a.tsv", "arrow:{}/saved"):
    assert read(spec.format(tmp_path), text_field="body") == bodies


def test_datasets_of_several_splits_ask_for_one(tmp_path):
  for split in ("train", "test"):
    (tmp_path / split).mkdir()
    table = pyarrow.table({"text": [f"of {split}"]})
    path = str(tmp_path / split / "data-00000-of-00001.arrow")
    with pyarrow.ipc.new_file(path, table.schema) as file:
      file.write_table(table)
  (tmp_path / "dataset_dict.json").write_text("{}")
  with pytest.raises(InputError, match="several splits"):
    read(f"arrow:{tmp_path}")
  assert read(f"arrow:{tmp_path}/test") == ["of test"]


EXAMPLE = {
  "title": "A title",
  "doc": {"text": "the text", "none": None},
  "sentences": ["One.", None, "Two."],
  "dotted.name": "dotted",
  "none": None,
}


@pytest.mark.parametrize(
  ("field", "text"),
  [
    ("doc.text", "the text"),
    ("sentences", "One.\nTwo."),
    ("dotted.name", "dotted"),
    ("{title}: {doc.text}", "A title: the text"),
    ("{title}|{none}|{doc.none}", "A title||"),
    ("none", None),
    ("doc.none", None),
    ("none.of.it", None),
    ("{none}{doc.none}", None),
  ],
)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_fields_are_paths_and_templates(tmp_path, kind, field, text):
  examples = [EXAMPLE, EXAMPLE | {"title": "Another"}]
  if kind == "jsonl":
    lines = "\n".join(map(json.dumps, examples))
    (tmp_path / "a").write_text(lines)
  else:
    table = pyarrow.Table.from_pylist(examples)
    pyarrow.parquet.write_table(table, tmp_path / "a")
  report = Report()
  data = DataConfig(corpus=f"{kind}:{tmp_path}/a", text_field=field)
  if text is None:
    with pytest.raises(InputError, match="holds no text"):
      list(sources.read_documents(data, report))
    assert report.nulls == 2
    return
  assert next(sources.read_documents(data)) == text
  with pytest.raises(InputError, match=r"its fields: .*title"):
    read(data.corpus, text_field=f"{field}{{body}}" if "{" in field else "body")


def test_columns_of_bytes_are_decoded_and_others_refused(tmp_path):
  columns = {
    "bytes": ["caf\u00e9".encode()],
    "lists": [["a", "b"]],
    "numbers": [1],
    "structs": [{"a": 1}],
  }
  pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a")
  found = lambda name: read(f"parquet:{tmp_path}/a", text_field=name)
  assert found("bytes") == ["caf\u00e9"]
  assert found("lists") == ["a\nb"]
  for name in ("numbers", "structs"):
    with pytest.raises(
      InputError, match=rf"a row 1: .*'{name}' must hold a te"
    ):
      found(name)


# Text with what is none in its third line, by kind, and what that is.
BAD = {
  "text": (b"one\n\ntwo caf\xe9 au lait\n\nthree", "not UTF-8 (0xe9)"),
  "jsonl": (
    b'{"text": "one"}\n\n{"text": "two \\ud800 a"}\n{"text": "three"}',
    "half of a surrogate pair (U+D800)",
  ),
  "csv": (b"text\none\ntwo \0 a\nthree\n", "a NUL character"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_text_is_replaced_left_out_or_an_error(tmp_path, kind):
  content, what = BAD[kind]
  (tmp_path / "a").write_bytes(content)
  documents, reports = {}, {}
  for policy in ("replace", "skip", "error"):
    data = DataConfig(corpus=f"{kind}:{tmp_path}/a", on_bad_text=policy)
    reports[policy] = Report()
    read = sources.read_documents(data, reports[policy])
    if policy == "error":
      with pytest.raises(InputError) as error:
        list(read)
    else:
      documents[policy] = list(read)
  assert documents["skip"] == ["one", "three"]
  first, second, third = documents["replace"]
  assert (first, third) == ("one", "three")
  assert second.startswith("two ") and second.count("\ufffd") == 1
  place = f"{tmp_path}/a {'row' if kind == 'jsonl' else 'line'} 3 has "
  for report in (reports["replace"], reports["skip"]):
    assert (report.bad, report.nulls) == (1, 0)
    assert report.first_bad.startswith(place) and what in report.first_bad
  assert reports["replace"].first_bad in str(error.value)
  assert "data.on_bad_text" in str(error.value)


def test_halves_of_a_pair_written_apart_are_one_character(tmp_path):
  (tmp_path / "a").write_text('{"text": "\\ud83d\\ude42"}')
  report = Report()
  data = DataConfig(corpus=f"jsonl:{tmp_path}/a", on_bad_text="error")
  assert list(sources.read_documents(data, report)) == ["\U0001f642"]


def test_a_folder_is_its_files_each_read_once(tmp_path):
  for name in ("b/2", "b/1", "a", ".hidden", "_SUCCESS", ".git/x", "c,d"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(name)
  (tmp_path / "b" / "loop").symlink_to(tmp_path)
  (tmp_path / "link").symlink_to(tmp_path / "a")
  found = read(f"text:{tmp_path}")
  assert found == ["a", "b/1", "b/2", "c,d"]
  assert read(f"text:{tmp_path}/a,{tmp_path}/[ab],{tmp_path}") == [
    "a",
    "b/1",
    "b/2",
    "c,d",
  ]
  assert read(f"text:{tmp_path}/c,d") == ["c,d"]


def test_long_documents_leave_no_scraps(tmp_path, monkeypatch):
  monkeypatch.setattr(files, "MAX_DOCUMENT_CHARS", 1_000)
  (tmp_path / "a").write_text("\n".join(["word " * 12] * 100))
  (tmp_path / "b").write_text(json.dumps({"text": "word " * 401}))
  for spec in (f"text:{tmp_path}/a", f"jsonl:{tmp_path}/b"):
    sizes = [len(text) for text in read(spec)]
    assert max(sizes) <= 1_000
    assert min(sizes[:-1]) > 600


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
    ("text:a", b"abc\0\0def", "a is not UTF-8 text: 25% of its start"),
    ("text:a", "\u0434\u043e\u043c".encode("cp1251"), "not UTF-8 text: 100%"),
    ("text:a", "a text".encode("utf-16"), "not UTF-8 text: 5"),
    ("text:a", b" \n\n \n", "holds no text"),
    ("text:b", b"x", "data.corpus.*no file matches"),
    ("text:a,b", b"x", "no file matches"),
    ("text:a.gz", b"not gzip", r"cannot read .*a\.gz: "),
    ("text:a.zst", b"not zstd", r"cannot read .*a\.zst: "),
    ("jsonl:a", b'{"text": "x"}\n{"text"', "line 2 is not JSON"),
    ("jsonl:a", b'{"title": 1, "body": 2}', "its fields: title, body"),
    ("jsonl:a", b'["text"]', "no field"),
    ("jsonl:a", b'{"text": 5}', "a line 1: data.text_field.* not 5"),
    ("jsonl:a", b'{"text": {"b": 1}}', "data.text_field='text' must hold"),
    ("jsonl:a", b"[" * 99_999, "line 1 is not JSON"),
    ("csv:a", b"title,body\nx,y\n", "its fields: title, body"),
    ("csv:a", b'text\n"x', r"a line 2: unexpected end"),
    ("arrow:a", b"x", r"no \.arrow files"),
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


@pytest.mark.parametrize(
  ("keys", "part"),
  [
    ({"document_separator": "  "}, "is blank"),
    (
      {"document_separator": "--", "document_boundary": "file"},
      "exclude each other",
    ),
  ],
)
def test_a_separator_without_effect_is_an_error_that_names_its_key(keys, part):
  with pytest.raises(InputError, match=rf"^data\.document_separator.*{part}"):
    DataConfig(corpus="text:a", **keys)
  sources = {"web": SourceConfig("text:a", **keys)}
  name = r"data\.sources\.web\.document_separator"
  with pytest.raises(InputError, match=rf"^{name}.*{part}"):
    DataConfig(sources=sources)


def test_a_change_in_the_middle_of_a_long_file_may_be_noticed(tmp_path):
  path = tmp_path / "long.txt"
  path.write_bytes(b"x" * (files._MOST_HASHED + 1))
  time = path.stat().st_mtime_ns

  def identities():
    return [
      sources.identity(DataConfig(corpus=f"text:{path}", hash_whole=whole))
      for whole in (False, True)
    ]

  before = identities()
  with path.open("r+b") as file:
    file.seek(files._MOST_HASHED // 2)
    file.write(b"y")
  os.utime(path, ns=(time, time))
  after = identities()
  assert before[0] == after[0] and before[1] != after[1]
