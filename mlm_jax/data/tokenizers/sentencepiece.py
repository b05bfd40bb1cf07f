"""SentencePiece models, and training one on a corpus."""

import functools
import hashlib
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import sentencepiece
from etils import epath
from sentencepiece import sentencepiece_model_pb2

from mlm_jax.config import DataConfig
from mlm_jax.config.data import SPECIAL_TOKENS
from mlm_jax.data.tokenizers.base import (
  MASK,
  SENTINEL,
  SPACE,
  STRUCTURE,
  Tokenizer,
  begins_unspaced,
  find_sentinels,
  find_stops,
  spelling,
)
from mlm_jax.errors import InputError
from mlm_jax.vocabulary import Vocabulary

# The file name of a SentencePiece model in a tokenizer's folder.
SPM_FILE = "spm.model"

# The first pieces of the models that `train` makes. Sentinels come before the
# mask, and 256 byte pieces follow it.

_BYTES = 256


# SentencePiece skips longer sentences, so lines are cut to fit.
_MAX_SENTENCE_BYTES = 4192

# data.normalization -> SentencePiece's name for it.
_RULES = {"nmt_nfkc": "nmt_nfkc", "nfkc": "nfkc", "none": "identity"}


class SentencePieceTokenizer(Tokenizer):
  """Text to ids and back, by a SentencePiece model (Kudo and Richardson 2018).

  Args:
    model: the serialized model; it must have padding, unknown, start and end
      pieces, and one called [MASK].
    name: how error messages refer to it.

  Raises:
    InputError: it is no SentencePiece model, or lacks one of these pieces.
  """

  mask_token = MASK

  def __init__(self, model: bytes, name: str = "the tokenizer"):
    self.model = model
    self._sp = sentencepiece.SentencePieceProcessor()
    try:
      self._sp.LoadFromSerializedProto(model)
    except RuntimeError as error:
      raise InputError(f"{name} is not a SentencePiece model") from error
    mask_id = self._sp.PieceToId(MASK)
    ids = (self._sp.pad_id(), self._sp.bos_id(), self._sp.eos_id(), mask_id)
    if min(ids) < 0 or mask_id == self._sp.unk_id():
      raise InputError(f"{name} lacks a pad, start, end or {MASK} piece")
    size = self._sp.GetPieceSize()
    sentinel_ids = find_sentinels({p: i for i, p in enumerate(self.pieces)})
    is_special = lambda i: (
      self._sp.IsControl(i) or self._sp.IsUnused(i) or i in sentinel_ids
    )
    self.vocabulary = Vocabulary(
      size=size,
      pad_id=self._sp.pad_id(),
      unk_id=self._sp.unk_id(),
      start_id=self._sp.bos_id(),
      end_id=self._sp.eos_id(),
      mask_id=mask_id,
      other_special_ids=tuple(
        i for i in range(size) if i not in ids and is_special(i)
      ),
      starts_word=np.array(
        [p.startswith(SPACE) or begins_unspaced(p) for p in self.pieces]
      ),
      stops=find_stops(self.pieces),
      sentinel_ids=sentinel_ids,
      byte_ids=tuple(filter(self._sp.IsByte, range(size))),
      spellings=tuple(map(spelling, map(self.display_text, range(size)))),
    )
    self._space_id = self._sp.PieceToId(SPACE)
    # SentencePiece finds no control symbol in a text.
    self._own = {
      self.pieces[i]: i
      for i in self.vocabulary.other_special_ids
      if self._sp.IsControl(i)
    }
    for piece in (*STRUCTURE, *(self.pieces[i] for i in sentinel_ids)):
      self._own.pop(piece, None)

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    texts = list(texts)
    ids = self._sp.Encode(texts, num_threads=self.num_threads)
    if self._own:
      for number, text in enumerate(texts):
        if self._own_pattern.search(text):
          ids[number] = self._encode_around(text, self._sp.Encode)
    return ids

  @functools.cached_property
  def _own_pattern(self) -> re.Pattern:
    """Matches special tokens that keep their ids in a text."""
    # Longest first: one token may be a prefix of another.
    tokens = sorted(self._own, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, tokens)) + ")")

  def _encode_around(
    self, text: str, encode: Callable[[str], list[int]]
  ) -> list[int]:
    """Returns the ids of special tokens, and of the text between them."""
    ids = []
    for part in filter(None, self._own_pattern.split(text)):
      ids += [self._own[part]] if part in self._own else encode(part)
    return ids

  def __reduce__(self):
    return SentencePieceTokenizer, (self.model,)

  def encode_with_masks(self, text: str) -> list[int]:
    if self._own:
      return self._encode_around(text, self._with_masks)
    return self._with_masks(text)

  def _with_masks(self, text: str) -> list[int]:
    if self._sp.IsControl(self.vocabulary.mask_id):
      return self._encode_around_masks(text)
    ids = self._sp.Encode(text)
    # A mask stands for a whole piece, the space of a word's start included, but
    # SentencePiece keeps the space before it as a piece of its own.
    pairs = zip(ids, ids[1:] + [None], strict=True)
    mask_id = self.vocabulary.mask_id
    return [i for i, after in pairs if (i, after) != (self._space_id, mask_id)]

  def _encode_around_masks(self, text: str) -> list[int]:
    """Returns the ids, where the mask is a symbol that no text becomes."""
    ids = []
    for number, part in enumerate(text.split(MASK)):
      ids += [self.vocabulary.mask_id] if number else []
      ids += self._sp.Encode(part)
    return ids

  def decode(self, ids: Sequence[int]) -> str:
    return self._sp.Decode([int(i) for i in ids])

  @functools.cached_property
  def pieces(self) -> list[str]:
    return [self._sp.IdToPiece(i) for i in range(self._sp.GetPieceSize())]

  def display_text(self, piece_id: int) -> str:
    return self.pieces[piece_id].replace(SPACE, " ")

  @functools.cached_property
  def identity(self) -> str:
    return hashlib.sha256(self.model).hexdigest()

  def save(self, folder: epath.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPM_FILE).write_bytes(self.model)


def train(documents: Iterable[str], data: DataConfig) -> SentencePieceTokenizer:
  """Trains a SentencePiece model; see `training.train`.

  With `data.byte_fallback`, characters without a piece of their own are spelled
  as bytes, so that no text is unknown.
  """
  model, failed = io.BytesIO(), []
  try:
    sentencepiece.SentencePieceTrainer.Train(
      sentence_iterator=_noting(failed, _sentences(documents)),
      model_writer=model,
      model_type=data.tokenizer,
      vocab_size=data.vocab_size,
      byte_fallback=data.byte_fallback,
      max_sentence_length=_MAX_SENTENCE_BYTES,
      normalization_rule_name=_RULES[data.normalization]
      + ("_cf" if data.lowercase else ""),
      remove_extra_whitespaces=not data.keep_whitespace,
      pad_id=0,
      unk_id=1,
      bos_id=2,
      eos_id=3,
      pad_piece=SPECIAL_TOKENS[0],
      unk_piece=SPECIAL_TOKENS[1],
      bos_piece=SPECIAL_TOKENS[2],
      eos_piece=SPECIAL_TOKENS[3],
      split_digits=data.split_digits,
      user_defined_symbols=[
        MASK,
        *("\n\t" if data.keep_whitespace else ""),
        *data.own_symbols,
      ],
      control_symbols=[
        *(SENTINEL.format(n) for n in range(data.num_sentinels)),
        *data.own_special_tokens,
      ],
      minloglevel=2,
    )
  except RuntimeError as error:
    # SentencePiece turns exceptions of its input iterator into text.
    if failed:
      raise failed[0] from error
    raise InputError(
      f"cannot train a tokenizer of data.vocab_size={data.vocab_size} on this "
      f"corpus: {_reason(error, data)}"
    ) from error
  return SentencePieceTokenizer(_round_scores(model.getvalue()))


def bpe_pieces(sentences: Iterable[str], count: int) -> list[str]:
  """Returns pieces that BPE finds, characters first, in the order of merges.

  Args:
    sentences: words with spaces between them, taken as they are.
    count: how many to return at most.
  """
  model, failed = io.BytesIO(), []
  try:
    sentencepiece.SentencePieceTrainer.Train(
      sentence_iterator=_noting(failed, _sentences(sentences)),
      model_writer=model,
      model_type="bpe",
      vocab_size=count,
      hard_vocab_limit=False,
      normalization_rule_name="identity",
      max_sentence_length=_MAX_SENTENCE_BYTES,
      character_coverage=1.0,
      minloglevel=2,
    )
  except RuntimeError as error:
    raise failed[0] if failed else InputError(str(error)) from error
  proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
  pieces = [piece.piece for piece in proto.pieces[3:]]  # Of its own, three.
  return sorted(pieces, key=lambda piece: len(piece) > 1)


def _reason(error: RuntimeError, data: DataConfig) -> str:
  """Returns why no model could be trained, and what to do."""
  reason = str(error).rpartition("] ")[2].strip() or str(error)
  most = re.search(r"value <= (\d+)", reason)
  if characters := re.search(r"required_chars\. \d+ vs (\d+)", reason):
    return f"its characters alone take {characters[1]} pieces"
  if not most:
    return reason
  most = int(most[1])
  if not data.byte_fallback:
    return f"it has text for {most} pieces at most"
  if most >= 300 + data.num_sentinels:
    return f"it has text for {most} pieces at most, bytes among them"
  return (
    f"it has text for {most - _BYTES} pieces at most, beside those of the 256 "
    f"bytes: set data.byte_fallback=False and data.vocab_size={most - _BYTES}"
  )


def _round_scores(model: bytes) -> bytes:
  """Rounds a model's scores to multiples of 1/64, so that their sums are exact.

  A unigram model sums the scores of a whole text in float32, exact for such
  multiples up to 2^18. Otherwise rounding errors would choose between equally
  likely segmentations, as of "=====", depending on the text before them, and
  other implementations would choose differently.
  """
  proto = sentencepiece_model_pb2.ModelProto.FromString(model)
  for piece in proto.pieces:
    piece.score = round(piece.score * 64) / 64
  return proto.SerializeToString()


def _noting(
  failed: list[BaseException], sentences: Iterator[str]
) -> Iterator[str]:
  """Yields sentences; adds what is raised instead to a list."""
  try:
    yield from sentences
  except (Exception, KeyboardInterrupt) as error:
    failed.append(error)
    raise


def _sentences(documents: Iterable[str]) -> Iterator[str]:
  """Yields lines of at most `_MAX_SENTENCE_BYTES`."""
  for document in documents:
    for line in document.splitlines():
      # A character is at most 4 bytes.
      for start in range(0, len(line), _MAX_SENTENCE_BYTES // 4):
        yield line[start : start + _MAX_SENTENCE_BYTES // 4]
