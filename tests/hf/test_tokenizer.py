"""What is exported gives the ids that training saw; what is imported, its own.

The text that every Python holds is compared line by line, and so is what is
hard to get right. transformers is optional: its tests are skipped without it.
"""

import io
import json
import random
import re
import sys
import unicodedata

import pytest
import sentencepiece
import tokenizers
from etils import epath
from tokenizers import models

from mlm_jax.config import DataConfig
from mlm_jax.data.tokenizers import SentencePieceTokenizer, train
from mlm_jax.data.tokenizers.tokenizer_json import FILE, HuggingFaceTokenizer
from mlm_jax.errors import InputError
from mlm_jax.evaluation import fill_mask
from mlm_jax.hf.tokenizer import (
  add_tokens,
  export_tokenizer,
  import_tokenizer,
  to_tokenizers,
)

NASTY = [
  *("", " ", "  \t ", " a", "a ", "  a   b  ", "\n", "a\nb\r\nc", "\ta\tb"),
  *("a\u2028b\u2029c", "a\xa0b\u3000c\u200bd", "\ufeffthe", "\0the\0", "a\0"),
  *("the\x01list", "\x01", "\x01 the", "\x7f\x80", "so\xadft", "\ufffd", "▁"),
  *("▁the", "the▁", "a ▁ b", "▁▁ a ▁▁", "~～∼", "\ufdd1"),
  *(
    "e\u0301",
    "E\u0301",
    "\u0301",
    "\u0301e",
    "a\u0328\u0301",
    "a\u0301\u0328",
  ),
  *("ê\u0323", "e\u0323\u0302", "e\u0302\u0323", "E\u0302\u0301\u0323 \u0301"),
  *(
    "q\u0307\u0323",
    "\xa8",
    "a\xa8b",
    "\u0344",
    "ᾳ\u0301",
    "α\u0313\u0301\u0345",
  ),
  *("ª\u0300", "𝐄\u0301", "<\u0338", "x\u20dd", "Z̷̢͖̓a̴͇͐l̵̰̈g̶̱͝o̸͙̒", "İstanbul ıI"),
  *("ΟΔΥΣΣΕΥΣ Οδυσσεύς ς", "STRASSE Straße ẞ", "ﬁ ﬂ ﬃ ŉ ǆ Ǆ ㎏ ① ½ ™ №"),
  *(
    "Ｆｕｌｌ ｗｉｄｔｈ　！",
    "ｶﾞｷﾞﾊﾟ",
    "か\u3099 は\u309a",
    "\u3099か",
    "日本語。中国",
    "㍿",
  ),
  *(
    "한국어",
    "\u1112\u1161\u11ab\u1100\u116e\u11a8",
    "\u1112\u1161\u11ab\u11ab",
  ),
  *("가\u11a8", "\uffa1\uffc2", "\u1161\u1161\u11a8", "ㄱㅏ"),
  *(
    "👨‍👩‍👧‍👦 👍🏽 🇫🇷🇩🇪 ❤️",
    "E👍🏽E\u200d",
    "1\ufe0f\u20e3",
    "a\u200cb\u200dc",
    "🏴\U000e0067",
  ),
  *("हिन्दी क\u093c क्ष", "বাংলা \u09c7\u09be", "தமிழ்", "ภาษาไทย กำ", "ລຳ"),
  *("עִבְרִית \ufb1d", "اَلْعَرَبِيَّةُ ﷺ ﻻ", "\u0600123", "Ελλάδα Ά\u0342"),
  *("<0x0A> <0x41>", "<s> </s> <unk>", "[mask] [Mask]", "[MASK", "A" * 100),
  *("-" * 99, "= " * 50, "aa aaa aaaa aaaaa", "!" * 7, "abababababa", "0000"),
  "".join(chr(i) for i in range(1, 0x250)),
]


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


def test_nasty_unicode_has_the_same_ids(ours, theirs):
  assert_same(ours, theirs, NASTY)
  around = [f"The {text} end" for text in NASTY]
  assert_same(ours, theirs, around)


def test_every_character_has_the_same_ids(ours, theirs):
  everything = (chr(i) for i in range(sys.maxunicode))
  # What stands for the full-width tilde, and is no character, is left out.
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
  pools = [marks, letters, jamo, list(" \tthe"), [s for s in NASTY if s]]
  texts = [
    "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 9)))
    for _ in range(5000)
  ]
  assert_same(ours, theirs, texts)


def test_text_comes_back_the_same(ours, theirs, lines):
  texts = [*lines[::7], *NASTY]
  encoded = ours.encode(texts)
  expected = [ours.decode(ids) for ids in encoded]
  assert theirs.decode_batch(encoded) == expected


MASKED = [
  *("the [MASK] of", "[MASK]", "[MASK] is", "a [MASK]s", "un[MASK] [MASK]."),
  *("the [MASK], which", "[MASK][MASK]", "  [MASK]  ", "the\u200b[MASK]"),
]


@pytest.mark.parametrize("text", MASKED)
def test_masks_stand_for_whole_pieces(ours, theirs, text):
  assert ids_of(theirs, [text]) == [ours.encode_with_masks(text)]


@pytest.fixture(scope="session")
def exported(ours, tmp_path_factory):
  out = epath.Path(tmp_path_factory.mktemp("exported")) / "tokenizer"
  export_tokenizer(ours, out, max_length=128)
  return out


def test_the_exported_file_is_read_back(exported, ours, theirs, lines):
  hf = import_tokenizer(exported, ours.vocabulary.size)
  assert hf.vocabulary == ours.vocabulary
  assert hf.pieces == ours.pieces
  assert hf.mask_token == ours.mask_token
  assert (hf.vocabulary.starts_word == ours.vocabulary.starts_word).all()
  size = ours.vocabulary.size
  assert list(map(hf.display_text, range(size))) == list(
    map(ours.display_text, range(size))
  )
  texts = [*lines[::7], *NASTY, "[CLS] [SEP]", "a[PAD]"]
  assert hf.encode(texts) == ours.encode(texts)
  for text in MASKED:
    assert hf.encode_with_masks(text) == ours.encode_with_masks(text)


def test_transformers_reads_what_is_exported(exported, ours, lines):
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
  texts = [*lines[::20], *NASTY]
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


def test_what_transformers_saves_is_imported(exported, ours, lines, tmp_path):
  transformers = pytest.importorskip("transformers")
  loaded = transformers.AutoTokenizer.from_pretrained(str(exported))
  loaded.save_pretrained(tmp_path)
  hf = import_tokenizer(epath.Path(tmp_path), ours.vocabulary.size)
  assert hf.vocabulary == ours.vocabulary
  assert hf.encode(lines[::20]) == ours.encode(lines[::20])


def train_spm(lines, **options):
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.Train(
    sentence_iterator=iter(lines),
    model_writer=model,
    minloglevel=2,
    **{
      **{"vocab_size": 400, "pad_id": 3, "user_defined_symbols": ["[MASK]"]},
      **options,
    },
  )
  return SentencePieceTokenizer(model.getvalue())


@pytest.mark.parametrize("rule", ["nfkc", "nfkc_cf", "identity"])
@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_models_of_other_tables_have_the_same_ids(lines, rule, kind):
  """They were not trained by us, and have neither bytes nor our names."""
  ours = train_spm(lines, normalization_rule_name=rule, model_type=kind)
  texts = [*lines[::7], *NASTY]
  # But for the documented differences: how runs are cut, special tokens as
  # text, and two characters that these tables, unlike ours, know.
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
def test_a_model_of_other_spaces_is_refused(lines, options):
  ours = train_spm(lines[:300], hard_vocab_limit=False, **options)
  with pytest.raises(InputError, match=r"only a BPE or unigram model") as said:
    to_tokenizers(ours)
  assert "\n" not in str(said.value)


BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture
def words(tmp_path):
  """Writes a small WordPiece tokenizer, and returns its folder."""

  def write(specials=BERT, **names):
    vocab = [*specials, "the", "co", "##vid", "##id", "list", "."]
    ids = {piece: i for i, piece in enumerate(vocab)}
    made = tokenizers.Tokenizer(models.WordPiece(ids, unk_token=specials[1]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(specials)
    (tmp_path / FILE).write_text(made.to_str())
    if names:
      (tmp_path / "tokenizer_config.json").write_text(json.dumps(names))
    return epath.Path(tmp_path)

  return write


def test_imported_files_are_exported_as_they_came(words, tmp_path):
  hf = import_tokenizer(words(mask_token="[MASK]", odd=3), 20)
  out = epath.Path(tmp_path) / "out"
  export_tokenizer(hf, out, max_length=128)
  for name in (FILE, "tokenizer_config.json"):
    assert (out / name).read_bytes() == (tmp_path / name).read_bytes()
  again = import_tokenizer(out, 20)
  assert again.vocabulary == hf.vocabulary


def test_new_tokens_take_the_free_rows_first(words):
  hf = import_tokenizer(words(), 12)
  added, spelled = add_tokens(hf, ["covid", "list", "coid"])
  assert added.pieces[11:] == ["covid", "coid"]
  assert spelled == {
    11: [hf.pieces.index("co"), hf.pieces.index("##vid")],
    12: [hf.pieces.index("co"), hf.pieces.index("##id")],
  }
  assert (hf.vocabulary.size, added.vocabulary.size) == (12, 13)
  assert added.encode(["the covid ."]) == [[5, 11, 10]]
  assert hf.encode(["the covid ."]) == [[5, 6, 7, 10]]
  assert 11 in hf.vocabulary.special_ids
  assert not {11, 12} & set(added.vocabulary.special_ids)
  assert added.identity != hf.identity
  same, none = add_tokens(added, ["covid"])
  assert none == {} and same.vocabulary == added.vocabulary


def test_new_tokens_leave_other_words_as_they_are(words):
  hf = import_tokenizer(words(), 12)
  # "co" is a piece already; "covi" begins a word that is not new.
  added, _ = add_tokens(hf, ["co", "covi"])
  for text in ("the covid .", "co list", "xcovi covix"):
    assert added.encode([text]) == hf.encode([text])
  assert added.encode(["covi"]) == [[added.pieces.index("covi")]]


def test_new_special_tokens_are_special(words):
  hf = import_tokenizer(words(), 11)
  added, _ = add_tokens(hf, ["[ENTITY]"], special=True)
  assert added.vocabulary.other_special_ids == (11,)


@pytest.mark.parametrize(
  ("specials", "vocab_size", "mask", "size"),
  [
    (BERT[:4], 10, "[MASK]", 11),
    (BERT[:4], 16, "[MASK]", 16),
    (["<pad>", "<unk>", "<s>", "</s>"], 10, "<mask>", 11),
  ],
)
@pytest.mark.parametrize("names", [{}, {"odd": 3}])
def test_a_mask_token_is_added_where_there_is_none(
  words, tmp_path, specials, vocab_size, mask, size, names
):
  folder = words(specials, **names)
  with pytest.raises(InputError, match=r"no mask token .*--add_mask_token"):
    import_tokenizer(folder, vocab_size)
  hf = import_tokenizer(folder, vocab_size, add_mask_token=True)
  assert hf.mask_token == mask
  assert hf.vocabulary.mask_id == 10
  assert hf.vocabulary.size == size
  assert hf.encode_with_masks("the [MASK].") == [4, 10, 9]
  hf.save(epath.Path(tmp_path) / "saved")
  again = import_tokenizer(epath.Path(tmp_path) / "saved", size)
  assert again.vocabulary == hf.vocabulary


@pytest.mark.parametrize("add", [False, True])
def test_a_table_too_small_is_an_error(words, add):
  folder = words(BERT[:4] if add else BERT)
  with pytest.raises(InputError, match=r"has 1[01] tokens"):
    import_tokenizer(folder, 9, add)


def test_a_second_mask_is_refused(words):
  with pytest.raises(InputError, match="has a mask token already"):
    import_tokenizer(words(), 20, add_mask_token=True)


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path):
  with pytest.raises(InputError, match=f"no tokenizer in {tmp_path}"):
    import_tokenizer(epath.Path(tmp_path), 20)


def test_an_older_kind_is_converted(tmp_path):
  pytest.importorskip("transformers")
  (tmp_path / "vocab.txt").write_text("\n".join([*BERT, "the", "list"]))
  config = {"tokenizer_class": "BertTokenizer"}
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
  hf = import_tokenizer(epath.Path(tmp_path), 8)
  assert hf.encode_with_masks("the [MASK] LIST") == [5, 4, 6]


def test_an_older_kind_needs_transformers(tmp_path, monkeypatch):
  (tmp_path / "vocab.txt").write_text("\n".join(BERT))
  monkeypatch.setitem(sys.modules, "transformers", None)
  with pytest.raises(InputError, match=r"pip install 'mlm_jax\[hf\]'"):
    import_tokenizer(epath.Path(tmp_path), 8)


def test_code_in_the_folder_is_never_run(tmp_path):
  pytest.importorskip("transformers")
  (tmp_path / "vocab.txt").write_text("\n".join(BERT))
  config = {
    "tokenizer_class": "Odd",
    "auto_map": {"AutoTokenizer": ["odd.Odd", "odd.Odd"]},
  }
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
  marker = tmp_path / "ran"
  (tmp_path / "odd.py").write_text(
    f"open({str(marker)!r}, 'w').close()\nclass Odd: pass\n"
  )
  with pytest.raises(InputError) as raised:
    import_tokenizer(epath.Path(tmp_path), 8)
  assert "\n" not in str(raised.value)
  assert not marker.exists()


@pytest.mark.parametrize(
  ("text", "mask_token"),
  [("a [MASK] b [MASK]s.", "<mask>"), ("a <mask> b <mask>s.", "<mask>")],
)
def test_guesses_fill_either_spelling(text, mask_token):
  guesses = [[(" cat", 0.5), ("ing", 0.1)], [(" dog", 0.5)]]
  filled, *described = fill_mask.describe(text, guesses, mask_token)
  assert filled == "a cat b dogs."
  assert described[0].endswith("cat 50.0%  …ing 10.0%")


def test_importing_data_does_not_import_transformers():
  import subprocess

  code = (
    "import sys; sys.modules['transformers'] = None; "
    "import mlm_jax.data.tokenizers.tokenizer_json, mlm_jax.hf.tokenizer"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


def test_a_tokenizer_of_holes_takes_no_new_token(tmp_path):
  vocab = {piece: i for i, piece in enumerate([*BERT, "the"])} | {"list": 9}
  model = models.WordPiece(vocab, unk_token="[UNK]")
  files = {FILE: tokenizers.Tokenizer(model).to_str().encode()}
  hf = HuggingFaceTokenizer(files)
  assert hf.vocabulary.other_special_ids == (6, 7, 8)
  assert hf.encode(["list"]) == [[9]]
  with pytest.raises(InputError, match="ids without a token"):
    add_tokens(hf, ["covid"])
