"""SentencePiece tokenizers: their special ids, masks and round trips."""

import dataclasses
import hashlib
import io
import pickle
import re

import numpy as np
import pytest
import sentencepiece
from etils import epath

from mlm_jax.config import DataConfig
from mlm_jax.data import tokenizers
from mlm_jax.data.tokenizers import SentencePieceTokenizer, load
from mlm_jax.data.tokenizers.base import find_stops
from mlm_jax.errors import InputError
from mlm_jax.vocabulary import Vocabulary

# Code points that NFKC and case folding do not change, not in the corpus.
BLOCKS = (
  (0x430, 0x450),  # Cyrillic
  (0x4E00, 0x9FFF),  # Chinese
  (0xAC00, 0xD7A3),  # Korean
  (0x1F600, 0x1F64F),  # emoji
)


@pytest.fixture(scope="session", params=["unigram", "bpe"])
def either(request, train_tokenizer, tokenizer):
  return tokenizer if request.param == "unigram" else train_tokenizer("bpe")


def test_special_tokens_have_the_first_ids_and_bytes_follow(either):
  specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  assert either.pieces[:5] == specials
  assert either.pieces[5:261] == [f"<0x{byte:02X}>" for byte in range(256)]
  byte_ids = tuple(range(5, 261))
  assert either.vocabulary == Vocabulary(512, 0, 1, 2, 3, 4, byte_ids=byte_ids)
  assert sorted(either.vocabulary.special_ids) == [0, 1, 2, 3, 4]


def test_vocabulary_size_is_exactly_vocab_size(either, train_tokenizer):
  assert either.vocabulary.size == len(set(either.pieces)) == 512
  assert train_tokenizer("bpe", vocab_size=433).vocabulary.size == 433


@pytest.mark.parametrize("seed", range(3))
def test_any_text_round_trips_without_unknowns(either, seed):
  rng = np.random.default_rng(seed)
  words = [
    "".join(
      chr(rng.integers(*BLOCKS[rng.integers(len(BLOCKS))])) for _ in "abc"
    )
    for _ in range(50)
  ]
  text = "the " + " ".join(words)
  (ids,) = either.encode([text])
  assert either.decode(ids) == text
  assert not set(ids) & set(either.vocabulary.special_ids)


def test_prose_round_trips(either, prose):
  for text, ids in zip(prose, either.encode(prose), strict=True):
    expected = " ".join(text.lower().split())
    if expected.isascii():
      assert either.decode(ids) == expected


@pytest.mark.parametrize("num_threads", [1, 4])
def test_encoding_does_not_depend_on_the_number_of_threads(
  tokenizer, prose, num_threads
):
  other = pickle.loads(pickle.dumps(tokenizer))
  other.num_threads = num_threads
  assert other.encode(prose) == tokenizer.encode(prose)


@pytest.mark.parametrize(
  ("before", "after"),
  [
    ("the", " of the list"),
    ("the", "."),
    ("the", ", which"),
    ("", " is an object"),
    ("the value of", ""),
  ],
)
def test_mask_replaces_a_whole_piece(either, before, after):
  space = either.pieces.index("▁")
  mask = either.vocabulary.mask_id
  ids = either.encode_with_masks(f"{before} [MASK]{after}".strip())
  assert ids.count(mask) == 1
  at = ids.index(mask)
  assert ids[:at] == either.encode([before])[0]
  assert space not in ids[at - 1 : at]
  assert either.decode(ids[at + 1 :]) == after.strip()
  if after:
    assert either.vocabulary.starts_word[ids[at + 1]] == after.startswith(" ")


def test_each_mask_of_a_text_becomes_a_mask_id(either):
  mask = either.vocabulary.mask_id
  ids = either.encode_with_masks("[MASK] [MASK] of [MASK].")
  assert ids[:2] == [mask, mask]
  assert ids.count(mask) == 3
  assert either.pieces.index("▁") not in ids


def test_starts_word_is_true_for_pieces_after_a_space(either):
  (ids,) = either.encode(["statement expression"])
  starts = either.vocabulary.starts_word[ids]
  assert starts.sum() == 2
  assert starts[0]
  assert not either.vocabulary.starts_word[
    list(either.vocabulary.special_ids)
  ].any()


def test_stops_mark_pieces_that_end_a_sentence(either):
  (ids,) = either.encode(["a value. it, then?"])
  ends = np.flatnonzero(either.vocabulary.stops[ids])
  assert [either.decode(ids[: end + 1])[-1] for end in ends] == [*".?"]
  assert not either.vocabulary.stops[list(either.vocabulary.special_ids)].any()


def test_full_width_stops_need_no_space_after_them():
  texts = ["a", ".", " end.", "。", "ने।", ",", "?"]
  assert find_stops(texts).tolist() == [0, 1, 1, 2, 2, 0, 1]


def test_lowercase_is_optional(tokenizer, train_tokenizer):
  upper, lower = tokenizer.encode(["The Value", "the value"])
  assert upper == lower
  cased = train_tokenizer(lowercase=False)
  upper, lower = cased.encode(["The Value", "the value"])
  assert upper != lower
  assert cased.decode(upper) == "The Value"


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("vocab_size", [300, 200_000])
def test_impossible_vocab_size_raises_input_error(
  train_tokenizer, kind, vocab_size
):
  with pytest.raises(InputError, match=r"data\.vocab_size=") as raised:
    train_tokenizer(kind, vocab_size=vocab_size)
  assert "\n" not in str(raised.value)


def test_saved_tokenizer_loads_unchanged(tmp_path, tokenizer, prose):
  folder = epath.Path(tmp_path) / "tokenizer"
  tokenizer.save(folder)
  for path in (folder, folder / "spm.model"):
    loaded = load(path)
    assert loaded.identity == tokenizer.identity
    assert loaded.vocabulary == tokenizer.vocabulary
    assert loaded.encode(prose) == tokenizer.encode(prose)


def test_identity_is_the_hash_of_the_model(tokenizer):
  """Prepared rows are fingerprinted with it."""
  assert tokenizer.identity == hashlib.sha256(tokenizer.model).hexdigest()


def test_display_text_has_a_space_before_the_start_of_a_word(either):
  texts = [either.display_text(i) for i in range(either.vocabulary.size)]
  assert not any("▁" in text for text in texts)
  for text, starts in zip(texts, either.vocabulary.starts_word, strict=True):
    assert text.startswith(" ") == starts
  (ids,) = either.encode(["the statement"])
  assert "".join(texts[i] for i in ids) == " the statement"


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 1000])
def test_file_that_is_no_model_raises_input_error(tmp_path, content):
  path = epath.Path(tmp_path) / "spm.model"
  path.write_bytes(content)
  with pytest.raises(InputError, match=r"spm\.model is not a SentencePiece"):
    load(path)


def test_path_without_a_tokenizer_raises_input_error(tmp_path):
  for name in ("none.model", "none.json", "none"):
    with pytest.raises(InputError, match=f"no tokenizer at .*{name}"):
      load(epath.Path(tmp_path) / name)
  with pytest.raises(InputError, match=r"no spm\.model, no tokenizer\.json"):
    load(epath.Path(tmp_path))


def test_model_without_a_mask_raises_input_error(tmp_path, prose):
  sentencepiece.SentencePieceTrainer.Train(
    sentence_iterator=iter(prose),
    model_prefix=str(tmp_path / "plain"),
    vocab_size=300,
    pad_id=3,
    minloglevel=2,
  )
  with pytest.raises(InputError, match="lacks a pad, start, end or"):
    load(epath.Path(tmp_path) / "plain.model")


def test_control_pieces_are_special_tokens(prose):
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.Train(
    sentence_iterator=iter(prose),
    model_writer=model,
    vocab_size=300,
    pad_id=3,
    control_symbols=["<sep>", "<cls>"],
    user_defined_symbols=["[MASK]", "<br>"],
    minloglevel=2,
  )
  tokenizer = SentencePieceTokenizer(model.getvalue())
  vocab = tokenizer.vocabulary
  others = [tokenizer.pieces[i] for i in vocab.other_special_ids]
  assert others == ["<sep>", "<cls>"]
  assert len(vocab.special_ids) == 7


SAMPLES = {
  "persian": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0631",
  "thai": "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22",
  "khmer": "\u1797\u17b6\u179f\u17b6\u1781\u17d2\u1798\u17c2\u179a",
  "chinese": "\u6211\u4eec\u5b66\u4e60\u4e2d\u6587\u3002",
  "japanese": "\u65e5\u672c\u8a9e\u3092\u5b66\u3076",
  "devanagari": "\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e",
  "family": "\U0001f468\u200d\U0001f469\u200d\U0001f467 at home",
  "code": "def f():\n\tif x:\n\t\treturn  [1,   2]\n",
}


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("normalization", ["nfkc", "none"])
@pytest.mark.parametrize("sample", SAMPLES)
def test_texts_of_any_script_round_trip(
  train_tokenizer, kind, normalization, sample
):
  tokenizer = train_tokenizer(
    kind, lowercase=False, normalization=normalization, keep_whitespace=True
  )
  (ids,) = tokenizer.encode([SAMPLES[sample]])
  assert tokenizer.decode(ids) == SAMPLES[sample]
  assert not np.isin(ids, tokenizer.vocabulary.special_ids).any()


def test_default_normalization_makes_spaces_of_what_has_no_width(
  train_tokenizer,
):
  tokenizer = train_tokenizer(lowercase=False)
  (ids,) = tokenizer.encode([SAMPLES["persian"]])
  assert tokenizer.decode(ids) == SAMPLES["persian"].replace("\u200c", " ")
  (ids,) = tokenizer.encode(["a\n\tb   c"])
  assert tokenizer.decode(ids) == "a b c"


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_small_alphabets_need_no_bytes(kind):
  rng = np.random.default_rng(0)
  acids = list("ACDEFGHIKLMNPQRSTVWY")
  proteins = ["".join(rng.choice(acids, 200)) for _ in range(100)]
  data = DataConfig(
    tokenizer=kind, vocab_size=27, byte_fallback=False, lowercase=False
  )
  tokenizer = tokenizers.train(proteins, data)
  vocab = tokenizer.vocabulary
  assert vocab.size == 27 and not vocab.byte_ids
  known, unknown = tokenizer.encode([proteins[0], "\u4e00"])
  assert tokenizer.decode(known) == proteins[0]
  assert vocab.unk_id in unknown and vocab.unk_id not in known


def test_advice_on_small_vocabularies_helps():
  texts = ["ab ba " * 30] * 50
  data = DataConfig(tokenizer="bpe", vocab_size=500)
  with pytest.raises(InputError, match=r"data\.byte_fallback=False") as error:
    tokenizers.train(texts, data)
  size = int(re.search(r"data\.vocab_size=(\d+)$", str(error.value))[1])
  data = DataConfig(tokenizer="bpe", vocab_size=size, byte_fallback=False)
  assert tokenizers.train(texts, data).vocabulary.size == size
  few = dataclasses.replace(data, vocab_size=8, tokenizer="bpe")
  with pytest.raises(InputError, match=r"vocab_size=8.*pieces"):
    tokenizers.train([*texts, "cdefghijklm"], few)


@pytest.mark.parametrize(
  ("keys", "said"),
  [
    ({"vocab_size": 100}, r"data\.vocab_size=100 .*data\.byte_fallback=False"),
    ({"normalization": "none"}, r"set data\.lowercase=False"),
    ({"keep_whitespace": True}, r"nmt_nfkc.*data\.keep_whitespace"),
  ],
)
def test_tokenizer_keys_that_exclude_each_other_raise_input_error(keys, said):
  with pytest.raises(InputError, match=said):
    DataConfig(**keys)
  # They say nothing about a tokenizer of one's own.
  assert DataConfig(tokenizer="own.model", vocab_size=29).vocab_size == 29


def test_a_mask_that_is_a_control_symbol_is_found_in_texts(prose, tmp_path):
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.Train(
    sentence_iterator=iter(prose),
    model_writer=model,
    vocab_size=400,
    byte_fallback=True,
    minloglevel=2,
    pad_id=0,
    unk_id=1,
    bos_id=2,
    eos_id=3,
    control_symbols=["[MASK]"],
  )
  (tmp_path / "spm.model").write_bytes(model.getvalue())
  tokenizer = load(epath.Path(tmp_path))
  mask = tokenizer.vocabulary.mask_id
  ids = tokenizer.encode_with_masks("the [MASK] of a [MASK]")
  assert [i == mask for i in ids].count(True) == 2 and ids[-1] == mask
  assert tokenizer.decode([i for i in ids if i != mask]).split() == [
    "the",
    "of",
    "a",
  ]


def test_a_vocab_txt_is_read_as_transformers_reads_it(prose, tmp_path):
  transformers = pytest.importorskip("transformers")
  words = sorted({w for text in prose for w in text.lower().split()})
  letters = [chr(n) for n in range(33, 127) if not chr(n).isupper()]
  tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
  tokens += [f"##{letter}" for letter in letters]
  tokens += [word for word in words if word.isalpha() and len(word) > 1]
  (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n")
  tokenizer = load(epath.Path(tmp_path))
  theirs = transformers.BertTokenizerFast.from_pretrained(tmp_path)
  texts = [*prose[:50], "Na\u00efve \u4e2d\u6587 Zz"]
  assert tokenizer.encode(texts) == [
    theirs.encode(text, add_special_tokens=False) for text in texts
  ]
  (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}')
  cased = load(epath.Path(tmp_path))
  assert cased.encode(["The"]) != tokenizer.encode(["The"])
  (tmp_path / "vocab.txt").write_text("a\nb\n")
  with pytest.raises(InputError, match=r"no \[UNK\]"):
    load(epath.Path(tmp_path))
