"""Tokenizers of every kind that can be trained, and symbols of one's own."""

import re
import unicodedata

import numpy as np
import pytest
from etils import epath

from mlm_jax.cli.main import main
from mlm_jax.config import CorruptionConfig, DataConfig
from mlm_jax.config.data import TRAINED_TOKENIZERS
from mlm_jax.data import tokenizers
from mlm_jax.data.corruption import corrupt
from mlm_jax.errors import InputError
from mlm_jax.workdir import Workdir

SIZES = {"wordpiece": 600, "word": 500, "char": 70, "unigram": 600, "bpe": 600}
# What a text may spell out without its being the structure of a row.
STRUCTURE = ["[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]", "<extra_id_0>"]


@pytest.fixture(scope="module")
def texts(corpus):
  # Digits and symbols, so that there is something to split.
  found = corpus.read_text()[:80_000].split("\n\n")
  return [f"{text} In {1900 + n}, [USER] said." for n, text in enumerate(found)]


def train(kind, texts, **keys):
  data = DataConfig(
    **{"tokenizer": kind, "vocab_size": SIZES[kind], "lowercase": False, **keys}
  )
  return tokenizers.train(texts, data)


OWN = {"special_tokens": "[USER],[USER2]", "user_symbols": "<br>,C++"}


@pytest.fixture(scope="module", params=TRAINED_TOKENIZERS)
def tokenizer(request, texts):
  keys = OWN | {"split_digits": True, "num_sentinels": 2}
  return train(request.param, texts, **keys)


def test_training_is_deterministic(tokenizer, texts, request):
  kind = request.node.callspec.params["tokenizer"]
  keys = OWN | {"split_digits": True, "num_sentinels": 2}
  again = train(kind, texts, **keys)
  assert again.identity == tokenizer.identity
  assert tokenizer.vocabulary.size == SIZES[kind]
  assert len(tokenizer.vocabulary.sentinel_ids) == 2


def test_ones_own_special_tokens_keep_their_ids_and_are_never_predicted(
  tokenizer, tmp_path
):
  vocab = tokenizer.vocabulary
  ids = [tokenizer.pieces.index(piece) for piece in ("[USER]", "[USER2]")]
  tokenizer.save(epath.Path(tmp_path))
  for one in (tokenizer, tokenizers.load(epath.Path(tmp_path), vocab.size)):
    (found,) = one.encode(["[USER] the list [USER2]the end[USER]"])
    assert [i for i in found if i in ids] == [ids[0], ids[1], ids[0]]
    assert not vocab.is_ordinary[ids].any()
  row = [vocab.start_id, *found, vocab.end_id]
  config = CorruptionConfig(mask_rate=0.9)
  batch = corrupt(np.array([row] * 50, np.int32), 0, config, vocab, 0)
  targets = batch["target_ids"][batch["target_weights"] > 0]
  assert len(targets) > 100 and not np.isin(targets, ids).any()


def test_masked_texts_are_encoded_as_texts_are(tokenizer):
  for text in ("[USER] the list [USER2] of", "in the list", "C++ [USER]"):
    assert tokenizer.encode_with_masks(text) == tokenizer.encode([text])[0]


def test_what_marks_the_structure_of_rows_is_text_in_a_text(tokenizer):
  vocab = tokenizer.vocabulary
  structure = {
    *(vocab.start_id, vocab.end_id, vocab.pad_id, vocab.mask_id),
    *vocab.sentinel_ids,
  }
  for spelled in STRUCTURE:
    (found,) = tokenizer.encode([f"the {spelled} list"])
    assert not structure.intersection(found) or spelled == "[MASK]", spelled
  assert vocab.mask_id in tokenizer.encode_with_masks("the [MASK] list")


def test_symbols_of_ones_own_are_one_piece_and_predicted(tokenizer):
  (found,) = tokenizer.encode(["the list<br>in C++ end"])
  for symbol in ("<br>", "C++"):
    number = tokenizer.pieces.index(symbol)
    assert found.count(number) == 1
    assert tokenizer.vocabulary.is_ordinary[number]
  assert "<br>" in tokenizer.decode(found) and "C++" in tokenizer.decode(found)


def test_digits_are_pieces_of_their_own(tokenizer):
  vocab = tokenizer.vocabulary
  others = {*vocab.special_ids, *vocab.byte_ids}
  assert not any(
    re.search(r"\d\d", piece)
    for number, piece in enumerate(tokenizer.pieces)
    if number not in others
  )
  (found,) = tokenizer.encode(["1907"])
  assert "".join(tokenizer.pieces[i] for i in found).strip("▁") == "1907"


@pytest.mark.parametrize("kind", ["char", "word", "unigram", "bpe"])
def test_round_trips_of_known_text(kind, texts):
  """WordPiece forgets where spaces stood."""
  size = {"word": 2400}.get(kind, SIZES[kind])
  tokenizer = train(kind, texts, vocab_size=size)
  unk_id, whole = tokenizer.vocabulary.unk_id, 0
  for text in texts:
    text = " ".join(unicodedata.normalize("NFKC", text).split())
    (ids,) = tokenizer.encode([text])
    if unk_id not in ids:
      whole += 1
      assert tokenizer.decode(ids) == text
  assert whole > 0.1 * len(texts)


def test_wordpiece_is_greedy_over_words(texts):
  tokenizer = train("wordpiece", texts)
  pieces = {piece: n for n, piece in enumerate(tokenizer.pieces)}

  def greedy(word):
    ids, start = [], 0
    while start < len(word):
      prefix = "##" if start else ""
      ends = range(len(word), start, -1)
      end = next((e for e in ends if prefix + word[start:e] in pieces), 0)
      if not end:
        return [tokenizer.vocabulary.unk_id]
      ids.append(pieces[prefix + word[start:end]])
      start = end
    return ids

  words = re.findall(
    r"[^\W_]+|[^\w\s]|_", unicodedata.normalize("NFKC", " ".join(texts[:40]))
  )
  wanted = [i for word in words for i in greedy(word)]
  (found,) = tokenizer.encode([" ".join(words)])
  assert found == wanted
  assert np.mean(np.array(found) == tokenizer.vocabulary.unk_id) < 0.01
  starts = tokenizer.vocabulary.starts_word[found]
  assert starts.sum() == len(words)


@pytest.mark.parametrize("kind", ["wordpiece", "word", "char"])
def test_symbols_that_would_be_learned_anyway_are_pieces_once(kind, texts):
  tokenizer = train(
    kind, texts, user_symbols="=,e,the", special_tokens=" [A],[B] "
  )
  for symbol in ("=", "e", "the", "[A]", "[B]"):
    assert list(tokenizer.pieces).count(symbol) == 1
  assert tokenizer.vocabulary.size == SIZES[kind]


def test_wordpiece_of_long_words_and_of_scripts_without_spaces():
  """A word of over 100 characters was one unknown token."""
  rng = np.random.default_rng(0)
  dna = ["".join(rng.choice(list("ACGT"), 1_000)) for _ in range(20)]
  thai = ["ประเทศไทยมีอากาศร้อน" * 20] * 20
  chinese = ["研究人员在北京大学发现了新的方法" * 20] * 20
  # A sign has one piece; a letter may also go on with a word.
  signs = lambda texts: 5 + len(set("".join(texts)))
  for texts, size in (
    (dna, 60),
    (thai, signs(thai)),
    (chinese, signs(chinese)),
  ):
    tokenizer = train("wordpiece", texts, vocab_size=size)
    (ids,) = tokenizer.encode(texts[:1])
    assert tokenizer.vocabulary.unk_id not in ids


def test_structure_of_other_families_is_text(texts, tmp_path):
  """Special tokens by the names of RoBERTa, beside BERT's roles."""
  import tokenizers as hf

  trained = train("word", texts, special_tokens="[USER]")
  made = hf.Tokenizer.from_str(trained.files["tokenizer.json"].decode())
  made.add_special_tokens(["<s>", "</s>", "<pad>"])
  made.save(str(tmp_path / "tokenizer.json"))
  tokenizer = tokenizers.load(epath.Path(tmp_path / "tokenizer.json"))
  (ids,) = tokenizer.encode(["the </s> list [USER] <pad>"])
  special = {tokenizer.pieces[i] for i in ids} & {"<s>", "</s>", "<pad>"}
  assert not special and tokenizer.pieces.index("[USER]") in ids


def test_a_small_alphabet_has_a_piece_for_each_letter():
  rng = np.random.default_rng(0)
  letters = list("ACDEFGHIKLMNPQRSTVWY")
  proteins = ["".join(rng.choice(letters, 300)) for _ in range(50)]
  data = DataConfig(tokenizer="char", vocab_size=26, lowercase=False)
  tokenizer = tokenizers.train(proteins, data)
  ids = tokenizer.encode(proteins)
  assert [tokenizer.decode(one) for one in ids] == proteins
  assert all(len(one) == 301 for one in ids)  # The start of a word is one.


@pytest.mark.parametrize(
  ("keys", "part"),
  [
    ({"tokenizer": "char", "vocab_size": 5_000}, "pieces at most"),
    ({"tokenizer": "word", "vocab_size": 50_000}, "pieces at most"),
    ({"tokenizer": "wordpiece", "vocab_size": 90_000}, "pieces at most"),
    ({"tokenizer": "word", "keep_whitespace": True}, "keep_whitespace"),
    ({"tokenizer": "own/spm.model", "split_digits": True}, "split_digits"),
    ({"tokenizer": "own/spm.model", "special_tokens": "[A]"}, "no effect"),
    ({"special_tokens": "[A],[A]"}, "different symbols"),
    ({"special_tokens": "[A],", "user_symbols": "x"}, "different symbols"),
    ({"special_tokens": "[A]", "user_symbols": "[A]"}, "different symbols"),
    ({"special_tokens": "[A],[MASK]"}, r"cannot hold \['\[MASK\]'\]"),
    ({"user_symbols": "<extra_id_0>"}, "every tokenizer has"),
  ],
)
def test_invalid_kinds_are_one_line(texts, keys, part):
  keys = {"normalization": "nfkc", **keys}
  with pytest.raises(InputError, match=part) as error:
    tokenizers.train(texts, DataConfig(**keys))
  assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wordpiece", "word", "char"])
def test_a_run_with_each_kind_is_exported(kind, recipe, tmp_path, capsys):
  """Trained, shown, and exported to a folder that transformers reads."""
  keys = {
    "data.tokenizer": kind,
    "data.vocab_size": SIZES[kind],
    "data.byte_fallback": False,
    "train.steps": 2,
    "optim.warmup_steps": 1,
    "train.log_every": 1,
    "data.lowercase": False,
    "data.special_tokens": "[USER]",
  }
  overrides = [f"--config.{key}={value}" for key, value in keys.items()]
  workdir = f"--workdir={tmp_path}/w"
  assert main(["train", f"--config={recipe}", workdir, *overrides]) == 0
  out = tmp_path / "hf"
  assert main(["export_hf", workdir, f"--out={out}"]) == 0
  import transformers

  theirs = transformers.AutoTokenizer.from_pretrained(out)
  ours = tokenizers.load(Workdir.at(tmp_path / "w").tokenizer, SIZES[kind])
  text = "[USER] Returns the list of all names."
  vocab = ours.vocabulary
  (ids,) = ours.encode([text])
  assert theirs(text).input_ids == [vocab.start_id, *ids, vocab.end_id]
