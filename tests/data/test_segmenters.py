"""Words of scripts without spaces, as a segmenter finds them."""

import importlib.util
import sys

import numpy as np
import pytest
from etils import epath

from mlm_jax.cli.main import main
from mlm_jax.config import CorruptionConfig, DataConfig
from mlm_jax.data import tokenizers
from mlm_jax.data.corruption import corrupt
from mlm_jax.data.corruption.primitives import segmenters
from mlm_jax.data.tokenizers import HuggingFaceTokenizer
from mlm_jax.errors import InputError

# From a press report of one's own making.
SENTENCES = [
  "研究人员在北京大学发现了一种新的方法",
  "这种方法可以帮助学生学习外国语言",
  "我们昨天去图书馆借了三本关于历史的书",
  "天气预报说明天下午可能会下雨",
]
LISTED = [
  "研究人员",
  "北京大学",
  "方法",
  "帮助",
  "学生",
  "图书馆",
  "天气预报",
  "明天",
]


@pytest.fixture
def word_list(tmp_path):
  path = tmp_path / "words.txt"
  path.write_text("\n".join(LISTED) + "\n")
  return str(path)


@pytest.fixture(scope="module")
def chars():
  found = sorted({c for text in SENTENCES for c in text})
  data = DataConfig(
    tokenizer="char", vocab_size=len(found) + 6, lowercase=False
  )
  return tokenizers.train(SENTENCES, data)


@pytest.fixture(scope="module")
def pieces():
  """Pieces of several characters, which need not be words."""
  data = DataConfig(
    tokenizer="bpe", vocab_size=75, byte_fallback=False, lowercase=False
  )
  return tokenizers.train(SENTENCES * 20, data)


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory):
  """A vocab.txt as Chinese BERT's: a piece for each sign."""
  specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  signs = sorted({c for text in SENTENCES for c in text})
  path = tmp_path_factory.mktemp("bert") / "vocab.txt"
  path.write_text("\n".join([*specials, *signs, "the", "##s"]) + "\n")
  return tokenizers.load(epath.Path(path))


@pytest.fixture(scope="module")
def byte_level():
  """Pieces of parts of characters."""
  import tokenizers as hf

  made = hf.Tokenizer(hf.models.BPE())
  made.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
  made.decoder = hf.decoders.ByteLevel()
  specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  trainer = hf.trainers.BpeTrainer(
    vocab_size=300,
    special_tokens=specials,
    initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  made.train_from_iterator(SENTENCES, trainer)
  return HuggingFaceTokenizer({"tokenizer.json": made.to_str().encode()})


def starts_of(tokenizer, text, name):
  vocab = tokenizer.vocabulary
  ids = np.array([vocab.start_id, *tokenizer.encode([text])[0], vocab.end_id])
  (starts,) = segmenters.word_starts(
    ids[None], vocab, segmenters.segmenter(name)
  )
  assert not starts[0] and not starts[-1]
  return ids[1:-1], starts[1:-1]


def test_a_word_list_is_matched_by_the_longest_word(word_list):
  segment = segmenters.segmenter(word_list)
  assert list(segment(SENTENCES[0])) == [
    *("研究人员", "在", "北京大学", "发现了一种新的方法"[0]),
    *"现了一种新的",
    "方法",
  ]
  assert list(segment("GPT4 is 学生")) == ["GPT4", " ", "is", " ", "学生"]
  words = ["naïve", " ", "привет", ",", " ", "café", "方法"]
  assert list(segment("".join(words))) == words
  if importlib.util.find_spec("jieba"):
    assert list(segmenters.segmenter("jieba")("".join(words))) == words


@pytest.mark.parametrize("name", ["list", "jieba", "icu"])
@pytest.mark.parametrize("kind", ["chars", "pieces", "byte_level", "wordpiece"])
def test_tokens_begin_the_words_of_the_segmenter(
  name, kind, word_list, request
):
  if name != "list":
    pytest.importorskip(name)
  name = word_list if name == "list" else name
  tokenizer = request.getfixturevalue(kind)
  for text in SENTENCES:
    ids, starts = starts_of(tokenizer, text, name)
    spelled = [tokenizer.vocabulary.spellings[i] for i in ids]
    assert b"".join(spelled).decode().strip() == text
    # The bytes at which words begin, and those at which tokens end.
    words = list(segmenters.segmenter(name)(b"".join(spelled).decode()))
    begins = np.cumsum([0, *(len(word.encode()) for word in words)])[:-1]
    ends = np.cumsum([len(part) for part in spelled])
    firsts = ends - [len(part) for part in spelled]
    expected = [
      any(first <= begin < end for begin in begins)
      for first, end in zip(firsts, ends, strict=True)
    ]
    assert starts.tolist() == expected
    assert 1 < starts.sum() < len(text)


def test_words_of_jieba_are_masked_whole(chars):
  pytest.importorskip("jieba")
  vocab, rows = chars.vocabulary, []
  for text in SENTENCES:
    ids = [vocab.start_id, *chars.encode([text])[0], vocab.end_id]
    rows.append(ids + [vocab.pad_id] * (24 - len(ids)))
  rows = np.array(rows * 50, np.int32)
  config = CorruptionConfig(
    kind="whole_words", word_boundaries="jieba", mask_rate=0.4
  )
  batch = corrupt(rows, 0, config, vocab, 0)
  masked = np.zeros(rows.shape, bool)
  for row, places, weights in zip(
    masked,
    batch["target_positions"],
    batch["target_weights"],
    strict=True,
  ):
    row[places[weights > 0]] = True
  starts = segmenters.word_starts(rows, vocab, segmenters.segmenter("jieba"))
  number = np.cumsum(starts, axis=1)
  sizes = set()
  for row, words, ids in zip(masked, number, rows, strict=True):
    for word in np.unique(words[vocab.is_ordinary[ids]]):
      of_word = row[(words == word) & vocab.is_ordinary[ids]]
      assert of_word.all() or not of_word.any()
      sizes |= {len(of_word)} if of_word.any() else set()
  assert len(sizes) >= 3
  # By characters' classes alone, each character would be a word.
  assert 0.2 < masked.sum() / vocab.is_ordinary[rows].sum() < 0.4


def test_thai_by_icu(tmp_path):
  pytest.importorskip("icu")
  segment = segmenters.segmenter("icu")
  assert list(segment("ภาษาไทยง่าย 🙂 ok")) == [
    *("ภาษา", "ไทย", "ง่าย", " ", "🙂", " ", "ok"),
  ]


@pytest.mark.parametrize("name", ["jieba", "icu"])
def test_a_segmenter_that_is_missing_is_one_line(name, monkeypatch):
  segmenters.segmenter.cache_clear()
  monkeypatch.setitem(sys.modules, name, None)
  with pytest.raises(InputError, match=rf"pip install 'mlm_jax\[{name}\]'"):
    segmenters.segmenter(name)


def test_what_is_no_segmenter_is_one_line(tmp_path):
  with pytest.raises(InputError, match="'icu', 'jieba' or the path"):
    segmenters.segmenter("mecab")
  (tmp_path / "empty.txt").write_text("\n")
  with pytest.raises(InputError, match="holds no word"):
    segmenters.segmenter(str(tmp_path / "empty.txt"))
  (tmp_path / "gbk.txt").write_bytes("方法\n".encode("gbk"))
  with pytest.raises(InputError, match="is not UTF-8"):
    segmenters.segmenter(str(tmp_path / "gbk.txt"))
  (tmp_path / "bom.txt").write_bytes("方法\n".encode("utf-8-sig"))
  segment = segmenters.segmenter(str(tmp_path / "bom.txt"))
  assert list(segment("新方法")) == ["新", "方法"]
  with pytest.raises(InputError, match=r"no effect.*token_masking"):
    CorruptionConfig(word_boundaries="jieba")


@pytest.mark.slow
def test_a_run_on_words_of_a_list(recipe, word_list, tmp_path, capsys):
  """Held-out rows are masked by the same words."""
  text = "\n\n".join(SENTENCES[n % 4] + f"{n}" for n in range(2_000))
  (tmp_path / "corpus.txt").write_text(text)
  keys = {
    "data.corpus": f"text:{tmp_path}/corpus.txt",
    "data.vocab_size": 400,
    "corruption.kind": "whole_words",
    "corruption.word_boundaries": word_list,
    "optim.warmup_steps": 1,
    "train.steps": 2,
  }
  overrides = [f"--config.{key}={value}" for key, value in keys.items()]
  command = ["train", f"--config={recipe}", f"--workdir={tmp_path}/w"]
  assert main([*command, *overrides]) == 0
  assert "held-out" in capsys.readouterr().out
