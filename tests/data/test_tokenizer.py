"""SentencePiece tokenizers: their special ids, masks and round trips."""

import hashlib
import io

import numpy as np
import pytest
import sentencepiece
from etils import epath

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


def test_encoding_does_not_depend_on_the_number_of_threads(tokenizer, prose):
  assert tokenizer.encode(prose, 1) == tokenizer.encode(prose, 4)


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
  with pytest.raises(InputError, match=r"no spm\.model and no tokenizer\.json"):
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
