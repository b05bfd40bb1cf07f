"""What a tokenizer is to the rest of the package."""

import abc
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from etils import epath

from mlm_jax.vocabulary import Vocabulary

MASK = "[MASK]"

# The piece that stands for the n-th hidden span (T5's name).
SENTINEL = "<extra_id_{}>"

# The space that SentencePiece, and what follows it, keeps in its pieces.
SPACE = "▁"

# What ends a sentence where a space follows, spelled as bytes too, and what ends
# one anyhow.
_STOPS = (".", "!", "?", "<0x2E>", "<0x21>", "<0x3F>")
_WIDE_STOPS = ("。", "।", "۔", "።")


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
