"""SentencePiece: training, loading, and the ids that the rest relies on."""

import dataclasses
import functools
import io
from collections.abc import Iterable, Sequence

import numpy as np
import sentencepiece
from etils import epath

from mlm_jax.config import DataConfig, InputError

MASK = "[MASK]"

# Our models have these at ids 0 to 4; the 256 byte pieces follow.
_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", MASK)

# SentencePiece leaves out longer sentences; lines are cut to fit.
_MAX_SENTENCE_BYTES = 4192


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """The ids that corruption, packing and models need to know."""

  size: int
  pad_id: int
  unk_id: int
  start_id: int
  end_id: int
  mask_id: int

  @property
  def special_ids(self) -> tuple[int, ...]:
    return (
      *(self.pad_id, self.unk_id, self.start_id),
      *(self.end_id, self.mask_id),
    )


class Tokenizer:
  """Text to ids and back, by a SentencePiece model.

  Args:
    model: the serialised model; it must have pad, unknown, start and end
      pieces, and one called [MASK].
    name: what errors call it.
  """

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
    self.vocabulary = Vocabulary(
      size=self._sp.GetPieceSize(),
      pad_id=self._sp.pad_id(),
      unk_id=self._sp.unk_id(),
      start_id=self._sp.bos_id(),
      end_id=self._sp.eos_id(),
      mask_id=mask_id,
    )
    self._space_id = self._sp.PieceToId("▁")

  @classmethod
  def load(cls, path: epath.Path) -> "Tokenizer":
    if not path.exists() or path.is_dir():
      raise InputError(f"no tokenizer at {path}")
    return cls(path.read_bytes(), str(path))

  def encode(
    self, texts: Sequence[str], num_threads: int = -1
  ) -> list[list[int]]:
    """Returns the ids of each text, without start and end; -1 is all cores."""
    return self._sp.Encode(list(texts), num_threads=num_threads)

  def encode_with_masks(self, text: str) -> list[int]:
    """Returns the ids of `text`, each "[MASK]" in it as a mask id."""
    ids = self._sp.Encode(text)
    # A mask stands for a whole piece, word start included; SentencePiece
    # leaves the space before it as a piece of its own.
    pairs = zip(ids, ids[1:] + [None], strict=True)
    mask_id = self.vocabulary.mask_id
    return [i for i, after in pairs if (i, after) != (self._space_id, mask_id)]

  def decode(self, ids: Sequence[int]) -> str:
    return self._sp.Decode([int(i) for i in ids])

  @functools.cached_property
  def pieces(self) -> list[str]:
    return [self._sp.IdToPiece(i) for i in range(self.vocabulary.size)]

  @functools.cached_property
  def starts_word(self) -> np.ndarray:
    """bool[V]: does this piece begin a word?"""
    return np.array([piece.startswith("▁") for piece in self.pieces])


def train(documents: Iterable[str], data: DataConfig) -> Tokenizer:
  """Trains the SentencePiece model that `data` asks for.

  Pieces that cannot be spelled fall back to bytes, so nothing is unknown.
  """
  model = io.BytesIO()
  try:
    sentencepiece.SentencePieceTrainer.Train(
      sentence_iterator=_sentences(documents, data.tokenizer_sample_mb << 20),
      model_writer=model,
      model_type=data.tokenizer,
      vocab_size=data.vocab_size,
      byte_fallback=True,
      max_sentence_length=_MAX_SENTENCE_BYTES,
      normalization_rule_name="nmt_nfkc_cf" if data.lowercase else "nmt_nfkc",
      pad_id=0,
      unk_id=1,
      bos_id=2,
      eos_id=3,
      pad_piece=_SPECIALS[0],
      unk_piece=_SPECIALS[1],
      bos_piece=_SPECIALS[2],
      eos_piece=_SPECIALS[3],
      user_defined_symbols=[MASK],
      minloglevel=2,
    )
  except RuntimeError as error:
    reason = str(error).rpartition("] ")[2].strip() or str(error)
    raise InputError(
      f"no tokenizer with data.vocab_size={data.vocab_size} can be trained on "
      f"this corpus: {reason}"
    ) from error
  return Tokenizer(model.getvalue())


def _sentences(documents: Iterable[str], budget: int):
  for document in documents:
    for line in document.splitlines():
      # A character is at most 4 bytes.
      for start in range(0, len(line), _MAX_SENTENCE_BYTES // 4):
        yield line[start : start + _MAX_SENTENCE_BYTES // 4]
    budget -= len(document)
    if budget < 0:
      return
