"""An exported tokenizer gives the ids that training saw.

The documentation that every Python ships is compared line by line, and so are
texts that are hard to get right. transformers is optional: its tests are
skipped without it.
"""

import io
import os
import random
import re
import subprocess
import sys
import unicodedata

import pytest
import sentencepiece
from etils import epath

from mlm_jax.config import DataConfig
from mlm_jax.data.tokenizers import SentencePieceTokenizer, train
from mlm_jax.errors import InputError
from mlm_jax.hf.tokenizer_export import export_tokenizer, to_tokenizers
from mlm_jax.hf.tokenizer_import import import_tokenizer
from tests.conftest import ROOT

DIFFICULT = [
  "", " ", "  \t ", " a", "a ", "  a   b  ", "\n", "a\nb\r\nc", "\ta\tb",
  "a\u2028b\u2029c", "a\xa0b\u3000c\u200bd", "\ufeffthe", "\0the\0", "a\0",
  "the\x01list", "\x01", "\x01 the", "\x7f\x80", "so\xadft", "\ufffd", "▁",
  "▁the", "the▁", "a ▁ b", "▁▁ a ▁▁", "~～∼", "\ufdd1", "e\u0301", "E\u0301",
  "\u0301", "\u0301e", "a\u0328\u0301", "a\u0301\u0328", "ê\u0323",
  "e\u0323\u0302", "e\u0302\u0323", "E\u0302\u0301\u0323 \u0301",
  "q\u0307\u0323", "\xa8", "a\xa8b", "\u0344", "ᾳ\u0301",
  "α\u0313\u0301\u0345", "ª\u0300", "𝐄\u0301", "<\u0338", "x\u20dd",
  "Z̷̢͖̓a̴͇͐l̵̰̈g̶̱͝o̸͙̒", "İstanbul ıI", "ΟΔΥΣΣΕΥΣ Οδυσσεύς ς",
  "STRASSE Straße ẞ", "ﬁ ﬂ ﬃ ŉ ǆ Ǆ ㎏ ① ½ ™ №", "Ｆｕｌｌ ｗｉｄｔｈ　！", "ｶﾞｷﾞﾊﾟ",
  "か\u3099 は\u309a", "\u3099か", "日本語。中国", "㍿", "한국어",
  "\u1112\u1161\u11ab\u1100\u116e\u11a8", "\u1112\u1161\u11ab\u11ab",
  "가\u11a8", "\uffa1\uffc2", "\u1161\u1161\u11a8", "ㄱㅏ", "👨‍👩‍👧‍👦 👍🏽 🇫🇷🇩🇪 ❤️",
  "E👍🏽E\u200d", "1\ufe0f\u20e3", "a\u200cb\u200dc", "🏴\U000e0067",
  "हिन्दी क\u093c क्ष", "বাংলা \u09c7\u09be", "தமிழ்", "ภาษาไทย กำ", "ລຳ",
  "עִבְרִית \ufb1d", "اَلْعَرَبِيَّةُ ﷺ ﻻ", "\u0600123", "Ελλάδα Ά\u0342",
  "<0x0A> <0x41>", "<s> </s> <unk>", "[mask] [Mask]", "[MASK", "A" * 100,
  "-" * 99, "= " * 50, "aa aaa aaaa aaaaa", "!" * 7, "abababababa", "0000",
  "".join(chr(i) for i in range(1, 0x250)),
]  # fmt: skip


@pytest.fixture(scope="session")
def lines(corpus):
  return corpus.read_text().splitlines()


@pytest.fixture(
  scope="session",
  params=["unigram", "unigram cased", "bpe", "bpe cased"],
)
def ours(request, lines):
  kind, *cased = request.param.split()
  data = DataConfig(tokenizer=kind, vocab_size=900, lowercase=not cased)
  return train(lines, data)


@pytest.fixture(scope="session")
def theirs(ours):
  return to_tokenizers(ours)


def ids_of(tokenizer, texts):
  encoded = tokenizer.encode_batch(list(texts), add_special_tokens=False)
  return [encoding.ids for encoding in encoded]


def assert_same(ours, theirs, texts):
  for text, expected, found in zip(
    texts, ours.encode(texts), ids_of(theirs, texts), strict=True
  ):
    assert found == expected, ascii(text)


def test_every_line_has_the_same_ids(ours, theirs, lines):
  assert_same(ours, theirs, lines)


def test_difficult_unicode_has_the_same_ids(ours, theirs):
  assert_same(ours, theirs, DIFFICULT)
  around = [f"The {text} end" for text in DIFFICULT]
  assert_same(ours, theirs, around)


def test_every_character_has_the_same_ids(ours, theirs):
  everything = (chr(i) for i in range(sys.maxunicode))
  # Without the noncharacter that the normalizer uses for the full-width tilde.
  known = [
    f"a{c}b"
    for c in everything
    if unicodedata.category(c) not in ("Cs", "Cn", "Co")
  ]
  assert_same(ours, theirs, known)


def test_random_unicode_has_the_same_ids(ours, theirs):
  rng = random.Random(0)
  marks = [
    chr(i)
    for i in range(0x3100)
    if unicodedata.category(chr(i)) in ("Mn", "Mc", "Me", "Cf")
  ]
  letters = [chr(i) for i in range(0x20, 0x2200) if chr(i) not in marks]
  jamo = [chr(i) for i in range(0x1100, 0x1200)]
  pools = [marks, letters, jamo, list(" \tthe"), [s for s in DIFFICULT if s]]
  texts = [
    "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 9)))
    for _ in range(5000)
  ]
  assert_same(ours, theirs, texts)


def test_decode_gives_the_same_text(ours, theirs, lines):
  texts = [*lines[::7], *DIFFICULT]
  encoded = ours.encode(texts)
  expected = [ours.decode(ids) for ids in encoded]
  assert theirs.decode_batch(encoded) == expected


MASKED = [
  "the [MASK] of", "[MASK]", "[MASK] is", "a [MASK]s", "un[MASK] [MASK].",
  "the [MASK], which", "[MASK][MASK]", "  [MASK]  ", "the\u200b[MASK]",
]  # fmt: skip


@pytest.mark.parametrize("text", MASKED)
def test_masks_have_the_same_ids(ours, theirs, text):
  assert ids_of(theirs, [text]) == [ours.encode_with_masks(text)]


@pytest.fixture(scope="session")
def exported(ours, tmp_path_factory):
  out = epath.Path(tmp_path_factory.mktemp("exported")) / "tokenizer"
  export_tokenizer(ours, out, max_tokens=128)
  return out


def test_an_exported_tokenizer_is_imported_unchanged(
  exported, ours, theirs, lines
):
  hf = import_tokenizer(exported, ours.vocabulary.size)
  assert hf.vocabulary == ours.vocabulary
  assert hf.pieces == ours.pieces
  assert hf.mask_token == ours.mask_token
  assert (hf.vocabulary.starts_word == ours.vocabulary.starts_word).all()
  size = ours.vocabulary.size
  assert list(map(hf.display_text, range(size))) == list(
    map(ours.display_text, range(size))
  )
  texts = [*lines[::7], *DIFFICULT, "[CLS] [SEP]", "a[PAD]"]
  assert hf.encode(texts) == ours.encode(texts)
  for text in MASKED:
    assert hf.encode_with_masks(text) == ours.encode_with_masks(text)


def test_transformers_reads_an_exported_tokenizer(exported, ours, lines):
  transformers = pytest.importorskip("transformers")
  loaded = transformers.AutoTokenizer.from_pretrained(str(exported))
  vocab = ours.vocabulary
  assert len(loaded) == vocab.size
  assert loaded.model_max_length == 128
  ids = (loaded.cls_token_id, loaded.sep_token_id, loaded.pad_token_id)
  assert ids == (vocab.start_id, vocab.end_id, vocab.pad_id)
  assert (loaded.unk_token_id, loaded.mask_token_id) == (
    vocab.unk_id,
    vocab.mask_id,
  )
  texts = [*lines[::20], *DIFFICULT]
  whole = lambda ids: [vocab.start_id, *ids, vocab.end_id]
  found = loaded(texts)
  assert found["input_ids"] == [whole(ids) for ids in ours.encode(texts)]
  assert set(found) == {"input_ids", "attention_mask"}
  for text in MASKED:
    expected = ours.encode_with_masks(text)
    assert loaded(text)["input_ids"] == whole(expected)
  first, second = ours.encode(["the value", "a list"])
  pair = loaded("the value", "a list", return_token_type_ids=True)
  assert pair["input_ids"] == [*whole(first), *second, vocab.end_id]
  types = [0] * (len(first) + 2) + [1] * (len(second) + 1)
  assert pair["token_type_ids"] == types
  text = "the value of the list"
  assert loaded.decode(loaded(text)["input_ids"], True) == text


def test_a_tokenizer_saved_by_transformers_is_imported(
  exported, ours, lines, tmp_path
):
  transformers = pytest.importorskip("transformers")
  loaded = transformers.AutoTokenizer.from_pretrained(str(exported))
  loaded.save_pretrained(tmp_path)
  hf = import_tokenizer(epath.Path(tmp_path), ours.vocabulary.size)
  assert hf.vocabulary == ours.vocabulary
  assert hf.encode(lines[::20]) == ours.encode(lines[::20])


def train_spm(lines, **options):
  model = io.BytesIO()
  options = {
    "vocab_size": 400,
    "pad_id": 3,
    "user_defined_symbols": ["[MASK]"],
    **options,
  }
  sentencepiece.SentencePieceTrainer.Train(
    sentence_iterator=iter(lines),
    model_writer=model,
    minloglevel=2,
    **options,
  )
  return SentencePieceTokenizer(model.getvalue())


@pytest.mark.parametrize("rule", ["nfkc", "nfkc_cf", "identity"])
@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_models_with_other_normalization_have_the_same_ids(lines, rule, kind):
  """These models lack byte pieces and our special tokens' names."""
  ours = train_spm(lines, normalization_rule_name=rule, model_type=kind)
  texts = [*lines[::7], *DIFFICULT]
  # Without the documented differences: repeated characters, special tokens as
  # text, and two characters that these tables keep.
  differ = re.compile(r"(.)\1\1|</s>|^▁|\x01")
  texts = [text for text in texts if not differ.search(text)]
  assert_same(ours, to_tokenizers(ours), texts)


@pytest.mark.parametrize(
  "options",
  [
    {"add_dummy_prefix": False},
    {"remove_extra_whitespaces": False},
    {"treat_whitespace_as_suffix": True},
    {"split_by_whitespace": False},
    {"model_type": "char", "vocab_size": 60},
  ],
)
def test_other_treatment_of_spaces_is_an_input_error(lines, options):
  ours = train_spm(lines[:300], hard_vocab_limit=False, **options)
  with pytest.raises(InputError, match=r"only a BPE or unigram") as error:
    to_tokenizers(ours)
  assert "\n" not in str(error.value)


@pytest.mark.slow
def test_export_is_the_same_in_every_process(lines, tmp_path):
  """Sets of strings have another order in each."""
  data = DataConfig(tokenizer="bpe", vocab_size=900)
  train(lines, data).save(epath.Path(tmp_path))
  program = f"""
from etils import epath
from mlm_jax.data.tokenizers import load
from mlm_jax.hf.tokenizer_export import to_tokenizers
import hashlib
text = to_tokenizers(load(epath.Path({str(tmp_path)!r}))).to_str()
print(hashlib.sha256(text.encode()).hexdigest())
"""
  hashes = {
    subprocess.run(
      [sys.executable, "-c", program],
      check=True,
      env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
      stdout=subprocess.PIPE,
    ).stdout
    for seed in "123"
  }
  assert len(hashes) == 1
