"""Copies are left out, the first of them kept, whoever writes the rows."""

import json

import numpy as np
import pytest

from mlm_jax.config import DataConfig
from mlm_jax.data import dedup, sources
from mlm_jax.data import prepare as prepare_lib
from mlm_jax.workdir import Workdir

WORDS = ["the", "value", "object", "name", "list", "type", "class", "use", "of"]


def documents(count, seed=0, length=60):
  rng = np.random.default_rng(seed)
  words = [f"{word}{n}" for word in WORDS for n in range(20)]
  return [" ".join(rng.choice(words, length)) for _ in range(count)]


def write(folder, files):
  for name, texts in files.items():
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / f"{name}.jsonl").write_text(lines)
  return f"jsonl:{folder}/*.jsonl"


def find(corpus, kind):
  data = DataConfig(corpus=corpus, dedup=kind)
  return list(dedup.find(data, sources.groups(data)))


@pytest.mark.parametrize("kind", ["exact", "minhash"])
def test_all_copies_but_the_first_are_found(kind, tmp_path, monkeypatch):
  """Also of documents in other groups of files."""
  monkeypatch.setattr(sources, "_GROUP_BYTES", 1)
  texts = documents(100)
  files = {"a": texts[:60], "b": texts[30:100] + texts[:1], "c": texts[99:]}
  corpus = write(tmp_path, files)
  found = [frozenset(), frozenset({*range(30), 70}), frozenset({0})]
  assert find(corpus, kind) == found
  assert find(corpus, "none") == [frozenset()] * 3


def test_near_copies_are_those_that_share_most_of_their_text(tmp_path):
  """An oracle of all pairs: by a Jaccard similarity well above or below."""
  rng = np.random.default_rng(1)
  texts = documents(60, length=200)
  edited = []
  for number, text in enumerate(texts):
    words = text.split()
    # One word of two hundred, or one in four.
    for place in rng.choice(200, 1 if number % 2 else 50, replace=False):
      words[place] = "edited"
    edited.append(" ".join(words))
  (found,) = find(write(tmp_path, {"a": texts + edited}), "minhash")
  grams = [dedup._ngrams(text) for text in texts + edited]
  near = set()
  for number in range(60):
    a, b = grams[number], grams[60 + number]
    similarity = len(a & b) / len(a | b)
    assert similarity > 0.94 or similarity < 0.4
    near |= {60 + number} if similarity > 0.94 else set()
  # Hashes miss a pair now and then; they find none that is not there.
  assert found <= near and len(found) >= 0.9 * len(near) == 27


def test_texts_without_spaces_are_compared_by_characters(tmp_path):
  rng = np.random.default_rng(0)
  signs = [chr(0x4E00 + n) for n in range(500)]
  first, other = ("".join(rng.choice(signs, 300)) for _ in range(2))
  edited = first[:150] + "一" + first[151:]
  (found,) = find(write(tmp_path, {"a": [first, other, edited]}), "minhash")
  assert found == {2}


@pytest.mark.parametrize("kind", ["exact", "minhash"])
def test_rows_are_those_of_the_text_without_copies(
  kind, tmp_path, make_config, tokenizer
):
  (tmp_path / "spm.model").write_bytes(tokenizer.model)
  texts, lines = documents(200), []
  order = np.random.default_rng(0).permutation(np.arange(600) % 200)
  _, first = np.unique(order, return_index=True)

  def rows(name, texts, dedup):
    folder = tmp_path / name
    folder.mkdir()
    keys = {
      "data.corpus": write(folder, {"a": texts}),
      "data.tokenizer": str(tmp_path / "spm.model"),
      "data.vocab_size": tokenizer.vocabulary.size,
      "data.heldout_fraction": 0.1,
      "data.dedup": dedup,
    }
    workdir = Workdir.at(folder / "w")
    _, stores = prepare_lib.prepare(make_config(**keys), workdir, lines.append)
    store = stores.sources[""]
    info = store.info["train"]
    return store.read("train", np.arange(info.num_rows)), info

  found, info = rows("all", [texts[n] for n in order], kind)
  wanted, _ = rows("once", [texts[order[n]] for n in np.sort(first)], "none")
  np.testing.assert_array_equal(found, wanted)
  assert info.num_duplicates == 400
  assert "Left out: 400 duplicates, 66.7% of the documents" in lines
