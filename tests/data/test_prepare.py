"""What is held out stays out; what is made once is not made again."""

import itertools
import json

import numpy as np
import pytest
from etils import epath

from mlm_jax.data import prepare as prepare_lib
from mlm_jax.data import rows as rows_lib
from mlm_jax.data import sources
from mlm_jax.errors import InputError
from mlm_jax.workdir import Workdir

NUM_DOCUMENTS = 300


@pytest.fixture(scope="module")
def documents():
  """Different sentences of ASCII words, which come back from their ids."""
  words = ["the", "value", "object", "name", "list", "type", "class", "use"]
  return [
    " ".join(sentence)
    for sentence in itertools.islice(
      itertools.permutations(words, 5), 0, 20 * NUM_DOCUMENTS, 20
    )
  ]


@pytest.fixture
def run_of(tmp_path, make_config, documents, tokenizer):
  """Returns a configuration over a corpus where all stands three times."""
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
  tokenizer, store = prepare_lib.prepare(run_of(), workdir, quiet)
  train, heldout = (texts(store, s, tokenizer) for s in rows_lib.SPLITS)
  assert not set(train) & set(heldout)
  assert sorted(train + heldout) == sorted(documents * 3)
  share = len(set(heldout)) / NUM_DOCUMENTS
  bound = 5 * np.sqrt(0.3 * 0.7 / NUM_DOCUMENTS)
  assert share == pytest.approx(0.3, abs=bound)
  assert store.info["train"].num_documents == len(train)
  assert store.info["heldout"].num_documents == len(heldout)


def test_a_larger_share_holds_out_the_same_documents_and_more(documents):
  small, large = (
    {text for text in documents if prepare_lib.is_heldout(text, fraction)}
    for fraction in (0.1, 0.4)
  )
  assert small
  assert small < large
  assert not any(prepare_lib.is_heldout(text, 0) for text in documents)


def test_nothing_held_out_where_nothing_is_asked_for(run_of, workdir):
  config = run_of(**{"data.heldout_fraction": 0.0})
  _, store = prepare_lib.prepare(config, workdir, quiet)
  assert store.info["heldout"].num_rows == 0
  assert store.info["train"].num_documents == 3 * NUM_DOCUMENTS


def test_what_is_made_is_not_made_again(run_of, workdir, monkeypatch):
  tokenizer, store = prepare_lib.prepare(run_of(), workdir, quiet)
  written = (store.path / "rows.json").stat().mtime
  model = (workdir.tokenizer / "spm.model").read_bytes()

  def read_documents(data):
    raise AssertionError("the corpus was read again")

  monkeypatch.setattr(sources, "read_documents", read_documents)
  again, same = prepare_lib.prepare(run_of(), workdir, quiet)
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
def test_another_setting_makes_another_store(run_of, workdir, change):
  _, store = prepare_lib.prepare(run_of(), workdir, quiet)
  _, other = prepare_lib.prepare(run_of(**change), workdir, quiet)
  assert other.path != store.path
  assert rows_lib.is_finished(store.path)
  _, back = prepare_lib.prepare(run_of(), workdir, quiet)
  assert back.path == store.path
  rows = (all_rows(s, "train").tolist() for s in (store, back, other))
  first, second, third = rows
  assert first == second != third


def test_another_corpus_makes_another_store(run_of, workdir, tmp_path):
  _, store = prepare_lib.prepare(run_of(), workdir, quiet)
  with (tmp_path / "corpus.jsonl").open("a") as file:
    file.write('{"text": "one more"}\n')
  _, other = prepare_lib.prepare(run_of(), workdir, quiet)
  assert other.path != store.path
  counts = [
    sum(s.info[x].num_documents for x in s.info) for s in (store, other)
  ]
  assert counts == [3 * NUM_DOCUMENTS, 3 * NUM_DOCUMENTS + 1]


def test_a_preparation_that_was_stopped_is_done_again(
  run_of, workdir, monkeypatch
):
  """Stopped in its second split, as Ctrl-C would."""
  read_documents, passes = sources.read_documents, []

  def stop_in_second_pass(data):
    passes.append(data)
    for number, text in enumerate(read_documents(data)):
      if len(passes) == 2 and number == 50:
        raise KeyboardInterrupt
      yield text

  with monkeypatch.context() as patch:
    patch.setattr(sources, "read_documents", stop_in_second_pass)
    with pytest.raises(KeyboardInterrupt):
      prepare_lib.prepare(run_of(), workdir, quiet)
  assert not list(workdir.rows.iterdir())
  tokenizer, store = prepare_lib.prepare(run_of(), workdir, quiet)
  found = [len(texts(store, split, tokenizer)) for split in rows_lib.SPLITS]
  assert sum(found) == 3 * NUM_DOCUMENTS


def test_a_store_that_is_not_finished_is_made_again(run_of, workdir):
  """Killed while it was copied, or its last file lost."""
  _, store = prepare_lib.prepare(run_of(), workdir, quiet)
  (store.path / "rows.json").unlink()
  (store.path / "train" / "junk").write_text("junk")
  _, again = prepare_lib.prepare(run_of(), workdir, quiet)
  assert again.path == store.path and again.info == store.info
  assert not (store.path / "train" / "junk").exists()


def test_two_runs_share_the_rows_of_one_folder(run_of, tmp_path):
  config = run_of(**{"data.rows_dir": str(tmp_path / "shared")})
  stores = [
    prepare_lib.prepare(config, Workdir.at(tmp_path / name), quiet)[1]
    for name in ("one", "two")
  ]
  assert stores[0].path == stores[1].path
  assert stores[0].path.parent == epath.Path(tmp_path / "shared")


def test_the_tokenizer_is_trained_on_no_heldout_document(
  run_of, workdir, monkeypatch, tokenizer
):
  seen = []

  def train(documents, data):
    seen.extend(documents)
    return tokenizer

  monkeypatch.setattr(prepare_lib.tokenizers, "train", train)
  config = run_of(**{"data.tokenizer": "unigram"})
  _, store = prepare_lib.prepare(config, workdir, quiet)
  assert set(seen) == set(texts(store, "train", tokenizer))


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"train.batch_size": 1024}, "not one batch of train.batch_size=1024"),
    ({"data.vocab_size": 511}, "has 512 pieces, data.vocab_size=511"),
    ({"data.heldout_fraction": 1e-9}, "of 900 documents was held out"),
    ({"data.heldout_fraction": 0.999999}, "fills 0 rows"),
    ({"data.tokenizer": "/nowhere/spm.model"}, "no tokenizer at /nowhere"),
    ({"data.tokenizer": "unigrm"}, "did you mean 'unigram'"),
  ],
)
def test_what_cannot_be_prepared_is_an_error(run_of, workdir, change, message):
  with pytest.raises(InputError, match=message) as raised:
    prepare_lib.prepare(run_of(**change), workdir, quiet)
  assert "\n" not in str(raised.value)


def test_a_log_has_a_line_for_each_tenth_of_the_corpus(
  run_of, workdir, documents, capsys, monkeypatch
):
  monkeypatch.setattr(prepare_lib, "_MILLION", 100)
  prepare_lib.prepare(run_of(), workdir, say=quiet)
  total = 3 * sum(map(len, documents)) // 100
  lines = capsys.readouterr().out.splitlines()
  done = [int(line.split()[2].split("/")[0].replace(",", "")) for line in lines]
  assert all(f"/{total:,}" in line for line in lines)
  assert [10 * count // total for count in done] == [*range(1, 11)]
