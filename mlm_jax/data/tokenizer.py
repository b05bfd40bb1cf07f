"""What a tokenizer is to the rest, and SentencePiece, which trains one."""

import abc
import dataclasses
import functools
import hashlib
import io
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import sentencepiece
from etils import epath
from sentencepiece import sentencepiece_model_pb2

from mlm_jax.config import DataConfig
from mlm_jax.errors import InputError

MASK = "[MASK]"

# The piece that stands for the n-th hidden span (T5's name).
SENTINEL = "<extra_id_{}>"

# The space that SentencePiece, and what follows it, keeps in its pieces.
SPACE = "▁"

# A SentencePiece model's name in a folder of its own.
SPM_FILE = "spm.model"

# What our models begin with, sentinels before the mask; the 256 bytes follow.
_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", MASK)

# What ends a sentence where a space follows, spelled as bytes too, and what ends
# one anyhow.
_STOPS = (".", "!", "?", "<0x2E>", "<0x21>", "<0x3F>")
_WIDE_STOPS = ("。", "।", "۔", "።")

# SentencePiece leaves out longer sentences; lines are cut to fit.
_MAX_SENTENCE_BYTES = 4192


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """The ids that corruption, packing and models need to know.

  Attributes:
    size: as many rows as a model's table needs.
    unk_id: the padding's where nothing is unknown.
    other_special_ids: more ids that stand for no text.
    sentinel_ids: those among them that stand for hidden spans, in their order.
    starts_word: bool[size], does this piece begin a word?
    stops: int8[size], 1 for a piece that ends a sentence if a word begins after
      it, 2 for one that does anyhow.
  """

  size: int
  pad_id: int
  unk_id: int
  start_id: int
  end_id: int
  mask_id: int
  other_special_ids: tuple[int, ...] = ()
  sentinel_ids: tuple[int, ...] = ()
  starts_word: np.ndarray | None = dataclasses.field(
    default=None, compare=False, repr=False
  )
  stops: np.ndarray | None = dataclasses.field(
    default=None, compare=False, repr=False
  )

  @functools.cached_property
  def special_ids(self) -> tuple[int, ...]:
    """All ids that are neither masked nor predicted, each of them once."""
    return tuple(
      sorted(
        {
          *(self.pad_id, self.unk_id, self.start_id),
          *(self.end_id, self.mask_id, *self.other_special_ids),
        }
      )
    )

  @functools.cached_property
  def is_ordinary(self) -> np.ndarray:
    """bool[size]: may this id be masked, predicted and drawn?"""
    is_ordinary = np.ones(self.size, bool)
    is_ordinary[list(self.special_ids)] = False
    return is_ordinary


class Tokenizer(abc.ABC):
  """Text to ids and back.

  Attributes:
    vocabulary: its ids.
    pieces: the piece of each id, as its model spells it.
    mask_token: the mask's piece.
    identity: a hash of all that the ids of a text depend on.
  """

  vocabulary: Vocabulary
  pieces: Sequence[str]
  mask_token: str
  identity: str

  @abc.abstractmethod
  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the ids of each text, without start and end."""

  @abc.abstractmethod
  def encode_with_masks(self, text: str) -> list[int]:
    """Returns the ids of `text`, without start and end, but with masks.

    "[MASK]" in it is a mask, and so is the tokenizer's own `mask_token`.
    """

  @abc.abstractmethod
  def decode(self, ids: Sequence[int]) -> str:
    """Returns the text of `ids`; start, end and padding have none."""

  @abc.abstractmethod
  def reading(self, piece_id: int) -> str:
    """Returns a piece as a reader would see it, " " first if a word begins."""

  @abc.abstractmethod
  def save(self, folder: epath.Path) -> None:
    """Writes what `load` reads; makes the folder if need be."""


def find_sentinels(ids: Mapping[str, int]) -> tuple[int, ...]:
  """Returns `Vocabulary.sentinel_ids` of a vocabulary, by its pieces' names."""
  numbers = itertools.takewhile(
    lambda number: SENTINEL.format(number) in ids, itertools.count()
  )
  return tuple(ids[SENTINEL.format(number)] for number in numbers)


def find_stops(readings: Iterable[str]) -> np.ndarray:
  """Returns `Vocabulary.stops` of pieces, given how they read."""
  return np.array(
    [
      2 if reading.endswith(_WIDE_STOPS) else reading.endswith(_STOPS)
      for reading in readings
    ],
    np.int8,
  )


def load(path: epath.Path, vocab_size: int | None = None) -> Tokenizer:
  """Reads a SentencePiece model, or a tokenizer.json.

  Args:
    path: the file, or a folder with a spm.model or a tokenizer.json in it.
    vocab_size: of the model, whose table may outgrow a tokenizer.json.

  Raises:
    InputError: there is none, or it lacks something.
  """
  # It derives from what is defined here.
  from mlm_jax.data import hf_tokenizer

  if path.is_dir():
    names = (SPM_FILE, hf_tokenizer.FILE)
    found = [path / name for name in names if (path / name).exists()]
    if not found:
      raise InputError(f"no tokenizer in {path}: no {', no '.join(names)}")
    path = found[0]
  if not path.exists():
    raise InputError(f"no tokenizer at {path}")
  if path.suffix == ".json":
    files = hf_tokenizer.read(path)
    return hf_tokenizer.HuggingFaceTokenizer(files, vocab_size, str(path))
  return SentencePieceTokenizer(path.read_bytes(), str(path))


class SentencePieceTokenizer(Tokenizer):
  """Text to ids and back, by a SentencePiece model.

  Args:
    model: the serialised model; it must have pad, unknown, start and end
      pieces, and one called [MASK].
    name: what errors call it.
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
      starts_word=np.array([p.startswith(SPACE) for p in self.pieces]),
      stops=find_stops(self.pieces),
      sentinel_ids=sentinel_ids,
    )
    self._space_id = self._sp.PieceToId(SPACE)

  def encode(
    self, texts: Sequence[str], num_threads: int = -1
  ) -> list[list[int]]:
    """Returns the ids of each text, without start and end; -1 is all cores."""
    return self._sp.Encode(list(texts), num_threads=num_threads)

  def encode_with_masks(self, text: str) -> list[int]:
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
    return [self._sp.IdToPiece(i) for i in range(self._sp.GetPieceSize())]

  def reading(self, piece_id: int) -> str:
    return self.pieces[piece_id].replace(SPACE, " ")

  @functools.cached_property
  def identity(self) -> str:
    return hashlib.sha256(self.model).hexdigest()

  def save(self, folder: epath.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SPM_FILE).write_bytes(self.model)


def train(documents: Iterable[str], data: DataConfig) -> SentencePieceTokenizer:
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
      control_symbols=[SENTINEL.format(n) for n in range(data.num_sentinels)],
      minloglevel=2,
    )
  except RuntimeError as error:
    # SentencePiece turns what was raised while it read into text.
    if "KeyboardInterrupt" in str(error):
      raise KeyboardInterrupt from error
    reason = str(error).rpartition("] ")[2].strip() or str(error)
    raise InputError(
      f"no tokenizer with data.vocab_size={data.vocab_size} can be trained on "
      f"this corpus: {reason}"
    ) from error
  return SentencePieceTokenizer(_on_grid(model.getvalue()))


def _on_grid(model: bytes) -> bytes:
  """Rounds a model's scores to 1/64, which sums of up to 2^18 keep exactly.

  A unigram model adds up the scores of a whole text in 32 bits. Where two ways
  to cut it are as good as each other, as in "=====", rounding errors would
  choose, by what stands before them; and other implementations would differ.
  """
  proto = sentencepiece_model_pb2.ModelProto.FromString(model)
  for piece in proto.pieces:
    piece.score = round(piece.score * 64) / 64
  return proto.SerializeToString()


def _sentences(documents: Iterable[str], budget: int):
  for document in documents:
    for line in document.splitlines():
      # A character is at most 4 bytes.
      for start in range(0, len(line), _MAX_SENTENCE_BYTES // 4):
        yield line[start : start + _MAX_SENTENCE_BYTES // 4]
    budget -= len(document)
    if budget < 0:
      return
