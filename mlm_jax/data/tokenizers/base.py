"""The interface of tokenizers."""

import abc
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from etils import epath

from mlm_jax.vocabulary import Vocabulary

MASK = "[MASK]"

# Tokens that mark the structure of rows, by the names that published models
# give them: spelled out in a text, they are text.
STRUCTURE = ("[CLS]", "[SEP]", "[PAD]", "[UNK]", MASK) + (
  "<s>", "</s>", "<pad>", "<unk>", "<mask>",
)  # fmt: skip

# The piece that stands for the n-th masked span (T5's name).
SENTINEL = "<extra_id_{}>"

# How SentencePiece, and tokenizers modelled on it, spell a space in a piece.
SPACE = "▁"

# End a sentence if a space follows, also where they are spelled as bytes; and
# end one in any case.
_STOPS = (".", "!", "?", "<0x2E>", "<0x21>", "<0x3F>")
_WIDE_STOPS = ("。", "।", "۔", "።")


# Scripts that put no spaces between words: Thai, Lao, Tibetan, Burmese, Khmer,
# those of the Tai, Japanese and Chinese.
UNSPACED = (
  "[\u0e00-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u2e80-\u2fdf"
  "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
  "\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9d"
  "\U00020000-\U0003ffff]"
)
_UNSPACED = re.compile(UNSPACED)


# What SentencePiece calls the pieces of single bytes.
BYTE = re.compile(r"<0x([0-9A-F]{2})>")


_PRINTING = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTING]
_BYTE_LEVEL = {chr(byte): byte for byte in _PRINTING} | {
  chr(256 + number): byte for number, byte in enumerate(_OTHERS)
}


class Tokenizer(abc.ABC):
  """Text to ids and back.

  Attributes:
    vocabulary: the special ids, and facts about the others.
    pieces: the piece of each id, as the tokenizer spells it.
    mask_token: the piece of the mask.
    identity: a hash of all that the ids of a text depend on. Prepared rows are
      fingerprinted with it.
    num_threads: how many share the texts that are encoded at once; -1 is one
      for each core.
  """

  vocabulary: Vocabulary
  pieces: Sequence[str]
  mask_token: str
  identity: str
  num_threads: int = -1

  @abc.abstractmethod
  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the ids of each text, without start and end tokens.

    Tokens that mark the structure of rows (start, end, padding, mask,
    sentinels) are text like any other where a text spells them out. Special
    tokens beside these keep their ids, and are never predicted.
    """

  @abc.abstractmethod
  def encode_with_masks(self, text: str) -> list[int]:
    """Returns the ids of `text` with masks, without start and end tokens.

    Both "[MASK]" and the tokenizer's own `mask_token` become the mask's id.
    """

  @abc.abstractmethod
  def decode(self, ids: Sequence[int]) -> str:
    """Returns the text of `ids`, without start, end and padding tokens."""

  @abc.abstractmethod
  def display_text(self, piece_id: int) -> str:
    """Returns a piece as readable text, with a space before a word's start."""

  @abc.abstractmethod
  def save(self, folder: epath.Path) -> None:
    """Writes the files that `load` reads; makes the folder if it is missing."""


def begins_unspaced(text: str) -> bool:
  """Returns whether a text begins in a script without spaces between words.

  There each piece counts as a word: what a space would show, nothing shows.
  """
  return _UNSPACED.match(text) is not None


def find_sentinels(ids: Mapping[str, int]) -> tuple[int, ...]:
  """Returns the ids of <extra_id_0>, <extra_id_1>, ... up to the first absent.

  Args:
    ids: the id of each piece.
  """
  numbers = itertools.takewhile(
    lambda number: SENTINEL.format(number) in ids, itertools.count()
  )
  return tuple(ids[SENTINEL.format(number)] for number in numbers)


def spelling(text: str) -> bytes:
  """Returns the UTF-8 of a piece's text; <0x0A> is a byte."""
  if byte := BYTE.fullmatch(text):
    return bytes.fromhex(byte[1])
  return text.encode()


def byte_level_spelling(piece: str) -> bytes:
  """Returns the bytes that a byte-level piece stands for (Radford et al. 2019).

  Bytes that print stand for themselves in Latin-1, the others for characters
  from U+0100 on.
  """
  if not all(character in _BYTE_LEVEL for character in piece):
    return piece.encode()  # A token that was added.
  return bytes(_BYTE_LEVEL[character] for character in piece)


def find_stops(texts: Iterable[str]) -> np.ndarray:
  """Returns `Vocabulary.stops`, int8 [size], of the texts of all pieces."""
  return np.array(
    [
      2 if text.endswith(_WIDE_STOPS) else text.endswith(_STOPS)
      for text in texts
    ],
    np.int8,
  )
