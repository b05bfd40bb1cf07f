"""Training a tokenizer on a corpus, by its kind."""

import itertools
import json
from collections.abc import Iterable, Iterator

import tokenizers
from tokenizers import (
  AddedToken,
  Regex,
  decoders,
  models,
  normalizers,
  pre_tokenizers,
  trainers,
)

from mlm_jax.config import DataConfig
from mlm_jax.config.data import SPECIAL_TOKENS
from mlm_jax.data.tokenizers import sentencepiece
from mlm_jax.data.tokenizers.base import (
  SENTINEL,
  SPACE,
  UNSPACED,
  Tokenizer,
  begins_unspaced,
)
from mlm_jax.data.tokenizers.tokenizer_files import (
  FILE,
  NAMING_FILES,
  template,
)
from mlm_jax.data.tokenizers.tokenizer_json import HuggingFaceTokenizer
from mlm_jax.errors import require

_UNKNOWN = "[UNK]"
# Of WordPiece, which makes one unknown token of a longer one. DNA and proteins
# are cut so.
_LONGEST_WORD = 200
_ROLES = dict(
  zip(
    ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"),
    SPECIAL_TOKENS,
    strict=True,
  )
)


def train(documents: Iterable[str], data: DataConfig) -> Tokenizer:
  """Trains a tokenizer as `data` configures it.

  Args:
    documents: what to train on.
    data: the kind and size of the tokenizer.

  Raises:
    InputError: the corpus has too little text, or too many characters, for
      `data.vocab_size`.
  """
  if data.tokenizer in ("unigram", "bpe"):
    return sentencepiece.train(documents, data)
  return _train_by_tokenizers(documents, data)


def _train_by_tokenizers(
  documents: Iterable[str], data: DataConfig
) -> HuggingFaceTokenizer:
  """Trains WordPiece, or takes the commonest words or characters."""
  made = tokenizers.Tokenizer(models.WordLevel(unk_token=_UNKNOWN))
  made.normalizer = _normalizer(data)
  made.pre_tokenizer = _pre_tokenizer(data)
  made.decoder = (
    decoders.WordPiece()
    if data.tokenizer == "wordpiece"
    else decoders.Sequence(
      [
        decoders.Fuse(),
        decoders.Replace(SPACE, " "),
        decoders.Strip(" ", 1, 0),
      ]
    )
  )
  sentinels = [SENTINEL.format(n) for n in range(data.num_sentinels)]
  special = [*_ROLES.values(), *sentinels, *data.own_special_tokens]
  find = _wordpieces if data.tokenizer == "wordpiece" else _commonest
  learned = dict.fromkeys(find(documents, made, data.vocab_size))
  for token in (*special, *data.own_symbols):
    learned.pop(token, None)
  size = data.vocab_size - len(special) - len(data.own_symbols)
  pieces = [*special, *itertools.islice(learned, size)]
  made.model = _model({piece: n for n, piece in enumerate(pieces)}, data)
  made.add_special_tokens(special)
  made.add_tokens(
    [AddedToken(symbol, normalized=False) for symbol in data.own_symbols]
  )
  marks = (_ROLES["cls_token"], _ROLES["sep_token"])
  made.post_processor = template(
    *((mark, made.token_to_id(mark)) for mark in marks)
  )
  size = made.get_vocab_size()
  require(
    size >= data.vocab_size,
    f"cannot train a tokenizer of data.vocab_size={data.vocab_size} on this "
    f"corpus: it has text for {size} pieces at most",
  )
  names = json.dumps(_ROLES).encode()
  files = {FILE: made.to_str().encode(), NAMING_FILES[0]: names}
  return HuggingFaceTokenizer(files, data.vocab_size)


def _model(vocab: dict[str, int], data: DataConfig) -> models.Model:
  if data.tokenizer != "wordpiece":
    return models.WordLevel(vocab, unk_token=_UNKNOWN)
  return models.WordPiece(
    vocab, unk_token=_UNKNOWN, max_input_chars_per_word=_LONGEST_WORD
  )


def _commonest(
  documents: Iterable[str], made: tokenizers.Tokenizer, size: int
) -> Iterator[str]:
  """Yields the commonest words or characters, in that order."""
  trainer = trainers.WordLevelTrainer(vocab_size=size, show_progress=False)
  made.train_from_iterator(documents, trainer)
  ids = made.get_vocab()
  return iter(sorted(ids, key=ids.get))


def _wordpieces(
  documents: Iterable[str], made: tokenizers.Tokenizer, size: int
) -> Iterator[str]:
  """Yields the pieces that BPE finds in words, as WordPiece spells them.

  These are SentencePiece's: what the tokenizers library finds depends on the
  order of a hash table, and so differs from run to run.
  """
  words = (
    " ".join(
      word
      for word, _ in made.pre_tokenizer.pre_tokenize_str(
        made.normalizer.normalize_str(document)
      )
    )
    for document in documents
  )
  for piece in sentencepiece.bpe_pieces(words, size):
    word = piece.removeprefix(SPACE)
    # A character may begin a word, or go on with it.
    if word and (len(word) == 1 or piece.startswith(SPACE)):
      yield word
    is_alone = begins_unspaced(word)  # As the pre-tokenizer leaves it.
    if (
      word and (len(word) == 1 or not piece.startswith(SPACE)) and not is_alone
    ):
      yield f"##{word}"


def _normalizer(data: DataConfig) -> normalizers.Normalizer:
  parts = []
  if data.normalization == "nmt_nfkc":
    parts.append(normalizers.Nmt())
  if data.normalization != "none":
    parts.append(normalizers.NFKC())
  if data.lowercase:
    parts.append(normalizers.Lowercase())
  if not data.keep_whitespace:
    parts.append(normalizers.Replace(Regex(r"\s+"), " "))
  return normalizers.Sequence(parts)


def _pre_tokenizer(data: DataConfig) -> pre_tokenizers.PreTokenizer:
  if data.tokenizer == "wordpiece":
    parts = [
      pre_tokenizers.BertPreTokenizer(),
      # Scripts without spaces would be words of whole sentences.
      pre_tokenizers.Split(Regex(UNSPACED), "isolated"),
      pre_tokenizers.Split(Regex(rf"\S{{{_LONGEST_WORD}}}"), "isolated"),
    ]
  elif data.tokenizer == "word":
    # What follows a word, such as a comma, is a piece of its own.
    parts = [
      pre_tokenizers.Metaspace(prepend_scheme="first"),
      pre_tokenizers.Punctuation(),
    ]
  else:
    each = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    parts = [
      pre_tokenizers.Metaspace(prepend_scheme="first", split=False),
      each,
    ]
  if data.split_digits:
    parts.append(pre_tokenizers.Digits(individual_digits=True))
  return pre_tokenizers.Sequence(parts)
