"""Held-out documents stay held out; prepared rows are reused."""

import itertools
import json
import re

import numpy as np
import pytest
from etils import epath

from mlm_jax.config import DataConfig
from mlm_jax.data import blocks, sources, write_rows
from mlm_jax.data import prepare as prepare_lib
from mlm_jax.data import rows as rows_lib
from mlm_jax.errors import InputError
from mlm_jax.workdir import Workdir

NUM_DOCUMENTS = 300


@pytest.fixture(scope="module")
def documents():
  """Different sentences of ASCII words, which round-trip through their ids."""
  words = ["the", "value", "object", "name", "list", "type", "class", "use"]
  return [
    " ".join(sentence)
    for sentence in itertools.islice(
      itertools.permutations(words, 5), 0, 20 * NUM_DOCUMENTS, 20
    )
  ]


@pytest.fixture
def run_of(tmp_path, make_config, documents, tokenizer):
  """Makes configurations of a corpus with three copies of each document."""
  copies = np.random.default_rng(0).permutation(documents * 3)
  lines = "".join(json.dumps({"text": text}) + "\n" for text in copies)
  (tmp_path / "corpus.jsonl").write_text(lines)
  (tmp_path / "spm.model").write_bytes(tokenizer.model)

  def make(**overrides):
    return make_config(
      **{
        "data.corpus": f"jsonl:{tmp_path}/corpus.jsonl",
        "data.tokenizer": str(tmp_path / "spm.model"),
        "data.vocab_size": tokenizer.vocabulary.size,
        "data.heldout_fraction": 0.3,
        "data.packing": "single",
        **overrides,
      }
    )

  return make


@pytest.fixture
def workdir(tmp_path):
  return Workdir.at(tmp_path / "work")


def quiet(line):
  pass


def prepare(config, workdir):
  """Returns the tokenizer, and the rows of the only corpus."""
  tokenizer, stores = prepare_lib.prepare(config, workdir, quiet)
  return tokenizer, stores.sources[""]


def load(config, workdir):
  tokenizer, stores = prepare_lib.load(config, workdir)
  return tokenizer, stores.sources[""]


def all_rows(store, split):
  return store.read(split, np.arange(store.info[split].num_rows))


def texts(store, split, tokenizer):
  vocab = tokenizer.vocabulary
  return [
    tokenizer.decode([i for i in row if i not in vocab.special_ids])
    for row in all_rows(store, split).tolist()
  ]


def test_heldout_documents_share_no_text_with_training(
  run_of, workdir, documents
):
  tokenizer, store = prepare(run_of(), workdir)
  train, heldout = (texts(store, s, tokenizer) for s in rows_lib.SPLITS)
  assert not set(train) & set(heldout)
  assert sorted(train + heldout) == sorted(documents * 3)
  share = len(set(heldout)) / NUM_DOCUMENTS
  bound = 5 * np.sqrt(0.3 * 0.7 / NUM_DOCUMENTS)
  assert share == pytest.approx(0.3, abs=bound)
  assert store.info["train"].num_documents == len(train)
  assert store.info["heldout"].num_documents == len(heldout)


def test_larger_heldout_fraction_holds_out_a_superset(documents):
  def heldout(fraction):
    splitter = blocks.Splitter(DataConfig(heldout_fraction=fraction))
    return {text for text in documents if splitter.split(text) == "heldout"}

  assert set() == heldout(0.0) < heldout(0.1) < heldout(0.4)


def test_heldout_fraction_0_holds_nothing_out(run_of, workdir):
  config = run_of(**{"data.heldout_fraction": 0.0})
  _, store = prepare(config, workdir)
  assert store.info["heldout"].num_rows == 0
  assert store.info["train"].num_documents == 3 * NUM_DOCUMENTS


def test_prepared_rows_and_tokenizer_are_reused(run_of, workdir, monkeypatch):
  tokenizer, store = prepare(run_of(), workdir)
  written = (store.path / "rows.json").stat().mtime
  model = (workdir.tokenizer / "spm.model").read_bytes()

  def read_documents(data, report=None):
    raise AssertionError("the corpus was read again")

  monkeypatch.setattr(sources, "read_documents", read_documents)
  again, same = prepare(run_of(), workdir)
  assert same.path == store.path
  assert (store.path / "rows.json").stat().mtime == written
  assert (workdir.tokenizer / "spm.model").read_bytes() == model == again.model
  assert again.vocabulary == tokenizer.vocabulary


@pytest.mark.parametrize(
  "change",
  [
    {"data.seq_len": 24},
    {"data.packing": "concat"},
    {"data.heldout_fraction": 0.2},
  ],
)
def test_another_data_configuration_makes_another_store(
  run_of, workdir, change
):
  _, store = prepare(run_of(), workdir)
  _, other = prepare(run_of(**change), workdir)
  assert other.path != store.path
  assert rows_lib.is_finished(store.path)
  _, back = prepare(run_of(), workdir)
  assert back.path == store.path
  rows = (all_rows(s, "train").tolist() for s in (store, back, other))
  first, second, third = rows
  assert first == second != third


def test_changed_corpus_makes_another_store(run_of, workdir, tmp_path):
  _, store = prepare(run_of(), workdir)
  with (tmp_path / "corpus.jsonl").open("a") as file:
    file.write('{"text": "one more"}\n')
  _, other = prepare(run_of(), workdir)
  assert other.path != store.path
  counts = [
    sum(s.info[x].num_documents for x in s.info) for s in (store, other)
  ]
  assert counts == [3 * NUM_DOCUMENTS, 3 * NUM_DOCUMENTS + 1]


def test_resumed_run_uses_recorded_rows_without_the_corpus(
  run_of, workdir, tmp_path
):
  """Of each data configuration, whatever became of the corpus."""
  configs = [run_of(), run_of(**{"data.seq_len": 24})]
  stores = [prepare(c, workdir)[1] for c in configs]
  workdir.save_config(configs[0])
  (workdir.checkpoints / "5").mkdir(parents=True)
  with (tmp_path / "corpus.jsonl").open("a") as file:
    file.write('{"text": "one more"}\n')
  for _ in range(2):
    for config, store in zip(configs, stores, strict=True):
      for found in (
        prepare(config, workdir),
        load(config, workdir),
      ):
        assert found[1].path == store.path
    (tmp_path / "corpus.jsonl").unlink(missing_ok=True)


def test_a_corpus_that_changes_is_noticed(run_of, workdir, tmp_path):
  """Before the first checkpoint its rows are made anew, afterwards kept."""
  for name in ("a", "b"):
    lines = "\n\n".join(f"the value of {name} {n}" for n in range(200))
    (tmp_path / f"{name}.txt").write_text(lines)
  config = run_of(**{"data.corpus": f"text:{tmp_path}/*.txt"})

  def again():
    lines = []
    _, stores = prepare_lib.prepare(config, workdir, lines.append)
    return stores.sources[""], [line for line in lines if "changed" in line]

  first, _ = again()
  workdir.save_config(config)
  same, lines = again()
  assert same.path == first.path and not lines
  (tmp_path / "c.txt").write_text("the value of c")
  text = (tmp_path / "a.txt").read_text()
  (tmp_path / "a.txt").write_text(text.replace("of a 100", "of a 001"))
  second, lines = again()
  assert second.path != first.path
  assert len(lines) == 1 and "added c.txt; changed a.txt" in lines[0]
  assert "made anew" in lines[0]
  assert again()[1] == []
  (workdir.checkpoints / "5").mkdir(parents=True)
  (tmp_path / "b.txt").unlink()
  third, lines = again()
  assert third.path == second.path
  assert "removed b.txt" in lines[0] and "goes on with those" in lines[0]


def test_what_is_no_text_is_counted_and_said(run_of, workdir, tmp_path):
  good = [json.dumps({"text": f"the value {n}"}) for n in range(200)]
  bad = ['{"text": null}', '{"text": "half \\ud800"}', '{"text": "\\u0000"}']
  (tmp_path / "bad.jsonl").write_text("\n".join([*good, *bad]))
  for policy, done in (("replace", "replaced by U+FFFD"), ("skip", "left out")):
    lines = []
    config = run_of(
      **{
        "data.corpus": f"jsonl:{tmp_path}/bad.jsonl",
        "data.on_bad_text": policy,
      }
    )
    prepare_lib.prepare(config, workdir, lines.append)
    assert "Left out: 1 examples without a text" in lines
    (line,) = [line for line in lines if line.startswith("Bad text")]
    assert f"2 documents ({done}): " in line
    assert f"{tmp_path}/bad.jsonl row 202 has half of a surrogate" in line


def test_a_bad_file_is_named_while_a_tokenizer_is_trained(
  run_of, workdir, tmp_path
):
  (tmp_path / "bad.jsonl").write_text('{"text": "a b"}\n' * 100 + '{"tex')
  config = run_of(
    **{
      "data.corpus": f"jsonl:{tmp_path}/bad.jsonl",
      "data.tokenizer": "unigram",
    }
  )
  with pytest.raises(InputError, match=r"bad\.jsonl line 101 is not JSON"):
    prepare_lib.prepare(config, workdir, quiet)


def test_a_sample_is_drawn_from_all_documents_in_any_order():
  documents = [f"{n:04} " + "x" * 95 for n in range(2_000)]
  sample, total = write_rows.sampled(documents, 60_000)
  assert total == 200_000
  assert 30_000 < sum(map(len, sample)) <= 60_000
  numbers = np.array([int(text[:4]) for text in sample])
  assert (np.diff(numbers) > 0).all()
  tenths = np.bincount(numbers // 200, minlength=10) / len(numbers)
  # Five standard deviations.
  assert np.abs(tenths - 0.1).max() < 5 * np.sqrt(0.09 / len(numbers))
  again, _ = write_rows.sampled(documents[::-1], 60_000)
  assert again[::-1] == sample
  assert write_rows.sampled(documents, 200_000) == (documents, 200_000)


def test_recorded_rows_are_not_used_with_another_tokenizer(
  run_of, workdir, tmp_path, train_tokenizer
):
  """As after a prepare without a config.json, which was interrupted."""
  other = run_of(**{"data.seq_len": 24})
  _, store = prepare(other, workdir)
  model = train_tokenizer("bpe").model
  (tmp_path / "spm.model").write_bytes(model)
  prepare(run_of(), workdir)
  workdir.save_config(run_of())
  tokenizer, again = prepare(other, workdir)
  assert tokenizer.model == model
  assert again.path != store.path


def test_load_of_rows_never_prepared_names_their_keys(run_of, workdir):
  prepare(run_of(), workdir)
  with pytest.raises(InputError, match=r"data\.seq_len=24.* prepare or train"):
    prepare_lib.load(run_of(**{"data.seq_len": 24}), workdir)


def test_incomplete_store_is_prepared_again(run_of, workdir):
  """As after an interrupted copy."""
  _, store = prepare(run_of(), workdir)
  rows = all_rows(store, "train")
  (store.path / "rows.json").unlink()
  (store.path / "train" / "zarr.json").unlink()
  _, again = prepare(run_of(), workdir)
  assert again.path == store.path and again.info == store.info
  np.testing.assert_array_equal(all_rows(again, "train"), rows)


def test_runs_share_rows_in_rows_dir(run_of, tmp_path):
  config = run_of(**{"data.rows_dir": str(tmp_path / "shared")})
  stores = [
    prepare(config, Workdir.at(tmp_path / name))[1] for name in ("one", "two")
  ]
  assert stores[0].path == stores[1].path
  assert stores[0].path.parent == epath.Path(tmp_path / "shared")


def test_tokenizer_is_not_trained_on_heldout_documents(
  run_of, workdir, monkeypatch, tokenizer
):
  seen = []

  def train(documents, data):
    seen.extend(documents)
    return tokenizer

  monkeypatch.setattr(prepare_lib.tokenizers, "train", train)
  config = run_of(**{"data.tokenizer": "unigram"})
  _, store = prepare(config, workdir)
  assert set(seen) == set(texts(store, "train", tokenizer))


@pytest.mark.parametrize(
  ("exponent", "share"), [(0.0, 3 / 4), (1.0, 6 / 7), (0.5, 0.809)]
)
def test_tokenizer_is_trained_on_sources_by_their_weights(
  run_of, workdir, tmp_path, monkeypatch, tokenizer, exponent, share
):
  """And by their sizes: the first has twice the text."""
  seen, lines = [], []

  def train(documents, data):
    seen.extend(documents)
    return tokenizer

  monkeypatch.setattr(prepare_lib.tokenizers, "train", train)
  keys = {
    "data.corpus": "",
    "data.tokenizer": "unigram",
    "data.tokenizer_sample_mb": 1,
    "data.size_exponent": exponent,
  }
  for name, weight in {"a": 3.0, "b": 1.0}.items():
    count = 8_000 if name == "a" else 4_000
    text = "\n\n".join(f"{name} {n} " + "x" * 400 for n in range(count))
    (tmp_path / name).write_text(text)
    keys[f"data.sources.{name}.corpus"] = f"text:{tmp_path}/{name}"
    keys[f"data.sources.{name}.weight"] = weight
  prepare_lib.prepare(run_of(**keys), workdir, lines.append)
  sizes = {name: sum(len(t) for t in seen if t[0] == name) for name in "ab"}
  # At least half of its share is drawn of each.
  assert 0.5 < sizes["a"] / (share * 2**20) <= 1.001
  assert 0.5 < sizes["b"] / ((1 - share) * 2**20) <= 1.001
  samples = [line for line in lines if "of the characters of" in line]
  assert len(samples) == 2
  assert all("tokenizer_sample_mb" in line for line in samples)


@pytest.mark.parametrize(
  ("change", "parts"),
  [
    ({"train.batch_size": 1024}, "data.seq_len.*train.batch_size=1024"),
    ({"data.vocab_size": 511}, "511.* set --config.data.vocab_size=512"),
    ({"data.heldout_fraction": 1e-9}, "of 900 documents.*heldout_fraction"),
    ({"data.heldout_fraction": 0.999999}, "fills 0 rows"),
    ({"data.tokenizer": "/nowhere/spm.model"}, "no tokenizer at /nowhere"),
    ({"data.tokenizer": "unigrm"}, "data.tokenizer.*did you mean 'unigram'"),
  ],
)
def test_invalid_data_configuration_raises_input_error(
  run_of, workdir, change, parts
):
  with pytest.raises(InputError, match=parts) as raised:
    prepare(run_of(**change), workdir)
  assert "\n" not in str(raised.value)


def test_progress_has_a_log_line_for_each_tenth_of_the_corpus(
  run_of, workdir, documents, capsys, monkeypatch
):
  monkeypatch.setattr(blocks, "_BLOCK_CHARS", sum(map(len, documents)) // 20)
  prepare(run_of(), workdir)
  lines = capsys.readouterr().out.splitlines()
  done = [int(re.match(r"percent of the text (\d+)/100", x)[1]) for x in lines]
  assert [percent // 10 for percent in done] == [*range(1, 11)]
