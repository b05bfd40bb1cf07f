"""Words met before have the ids that the tokenizers library gives them."""

import concurrent.futures
import itertools
import json
import random

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

from mlm_jax.data.tokenizers import word_memo

# What tokenizers treat each in a way of its own: white space of all kinds, what
# a normalizer makes a space, removes or joins, and what patterns end words at.
CHARACTERS = [
  *(" ", " ", "  ", "   ", "\n", "\t", "\r\n", "\x0b", "\x1c", "\x85", "\xa0"),
  *("\u2000", "\u2003", "\u2028", "\u3000", "\u200b", "\u200d", "\0"),
  *("´", "\u0301", "\u0345", "ﬁ", "İ", "Σ", "é", "ά", "你", "한", "ก", "א"),
  *("a", "b", "ab", "Ab", "'s", "'", "1", "123", ".", ",", "-", "_", "😀"),
  *("<extra>", "<MASK>", "<mask>", "[unused1]"),
]

# The pattern of Llama 3's tokenizer, as its tokenizer.json has it.
LLAMA_3 = tokenizers.Regex(
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
  r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_level(splitter, normalizer=None, tokens=()):
  # Each piece says where words end: no token of one character joins two.
  pairs = [(a, b) for a, b in itertools.product(ALPHABET, repeat=2)][::7]
  pieces = [*ALPHABET, *(a + b for a, b in pairs)]
  model = models.BPE({p: i for i, p in enumerate(pieces)}, pairs)
  return assemble(model, splitter, normalizer, tokens)


def wordpiece(splitter, normalizer=None, tokens=()):
  pieces = ["[UNK]", *"ab12e.,-'", "##a", "##b", "##1", "##e", "##2", "##3"]
  model = models.WordPiece(
    {p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"
  )
  return assemble(model, splitter, normalizer, tokens)


def assemble(model, splitter, normalizer, tokens):
  made = tokenizers.Tokenizer(model)
  made.pre_tokenizer = splitter
  if normalizer:
    made.normalizer = normalizer
  made.add_tokens(list(tokens))
  return made


def gpt_2(**options):
  return pre_tokenizers.ByteLevel(
    **({"add_prefix_space": False, "use_regex": True} | options)
  )


def llama_3():
  return pre_tokenizers.Sequence(
    [
      pre_tokenizers.Split(LLAMA_3, "isolated"),
      gpt_2(use_regex=False),
    ]
  )


def token(content, **options):
  return tokenizers.AddedToken(content, **options)


UNUSED = token("[unused1]")
MASK = token("<mask>", lstrip=True)
SPACES = [token(" " * n) for n in (2, 3)]

EXACT = {
  "gpt-2": byte_level(gpt_2()),
  "modernbert": byte_level(gpt_2(), normalizers.NFC(), [*SPACES, UNUSED]),
  "roberta": byte_level(gpt_2(), tokens=[MASK]),
  "uncased": byte_level(
    gpt_2(), normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase()])
  ),
  "llama-3": byte_level(llama_3(), tokens=[token("<extra>")]),
  "bert": wordpiece(
    pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer(), [UNUSED]
  ),
  "bert-cased": wordpiece(
    pre_tokenizers.BertPreTokenizer(),
    normalizers.BertNormalizer(lowercase=False, strip_accents=False),
    [MASK],
  ),
  "words": wordpiece(pre_tokenizers.Whitespace(), normalizers.NFKC()),
  "digits": wordpiece(
    pre_tokenizers.Sequence(
      [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(True)]
    )
  ),
}

# Each looks across a space in some text.
INEXACT = {
  "accents": byte_level(gpt_2(), normalizers.StripAccents()),
  "compatible": byte_level(gpt_2(), normalizers.NFKC()),
  "stripped": byte_level(gpt_2(), normalizers.Strip()),
  "prefixed": byte_level(gpt_2(add_prefix_space=True)),
  "whole": byte_level(gpt_2(use_regex=False)),
  "digits": byte_level(
    pre_tokenizers.Sequence([pre_tokenizers.Digits(), gpt_2()])
  ),
  "taking": byte_level(gpt_2(), tokens=[token("<mask>", rstrip=True)]),
  "spaced": byte_level(gpt_2(), tokens=[token("a b")]),
  "space": byte_level(gpt_2(), tokens=[token(" ")]),
  "runs": wordpiece(pre_tokenizers.BertPreTokenizer(), tokens=SPACES),
  "first": wordpiece(
    pre_tokenizers.Sequence(
      [
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Metaspace(prepend_scheme="first"),
      ]
    )
  ),
  "none": byte_level(pre_tokenizers.Metaspace()),
}


def texts():
  rng = random.Random(0)
  for _ in range(4_000):
    yield "".join(rng.choices(CHARACTERS, k=rng.randint(0, 12)))


def encode(made, texts):
  encodings = made.encode_batch_fast(list(texts), add_special_tokens=False)
  return [encoding.ids for encoding in encodings]


def pattern(made):
  return word_memo.word_pattern(json.loads(made.to_str()))


@pytest.mark.parametrize("name", EXACT)
def test_ids_are_those_of_the_library(name):
  made = EXACT[name]
  memo = word_memo.WordMemo(pattern(made), lambda texts: encode(made, texts))
  found = list(texts())
  expected = encode(made, found)
  halves = memo.encode(found[:2_000]) + memo.encode(found[2_000:])
  assert halves == expected
  assert memo.encode(found) == expected  # All words are known now.


@pytest.mark.parametrize("name", INEXACT)
def test_tokenizers_that_may_look_across_words_have_no_pattern(name):
  assert pattern(INEXACT[name]) is None


def test_threads_may_share_what_is_known(monkeypatch):
  monkeypatch.setattr(word_memo, "_MAX_WORDS", 20)
  memo = word_memo.WordMemo(
    word_memo._BERT, lambda words: [[len(word)] for word in words]
  )
  texts = [" ".join("x" * n for n in range(1, 1 + m)) for m in (5, 30, 90)]
  expected = [[*range(1, 1 + m)] for m in (5, 30, 90)]
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    for found in pool.map(lambda _: memo.encode(texts), range(500)):
      assert found == expected


def test_only_short_words_are_kept_and_not_too_many(monkeypatch):
  monkeypatch.setattr(word_memo, "_MAX_WORDS", 3)
  asked = []

  def ids(words):
    asked.append(sorted(words))
    return [[len(word)] for word in words]

  memo = word_memo.WordMemo(word_memo._BERT, ids)
  assert memo.encode(["a b", "a " + 65 * "c"]) == [[1, 1], [1, 65]]
  assert memo.encode(["a d e f", "b"]) == [[1, 1, 1, 1], [1]]
  memo.encode(["a b " + 65 * "c"])
  assert asked[1:] == [["d", "e", "f"], [65 * "c"]]
