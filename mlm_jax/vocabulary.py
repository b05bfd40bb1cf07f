"""The ids that corruption, packing and models need to know."""

import dataclasses
import functools

import numpy as np


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """The ids that corruption, packing and models need to know.

  Attributes:
    size: the number of ids, and of rows of the model's embedding table.
    pad_id, unk_id, start_id, end_id, mask_id: the special tokens; unk_id is
      pad_id where every text can be spelled.
    other_special_ids: further ids that stand for no text.
    sentinel_ids: those of them that stand for masked spans, in order.
    byte_ids: pieces that stand for a byte of a character without a piece.
    starts_word: bool[size], whether the piece begins a word.
    spellings: the UTF-8 of each piece, with a space before the start of a word.
    stops: int8[size], 1 for a piece that ends a sentence if the next piece
      begins a word, 2 for one that always does, 0 for all others.
  """

  size: int
  pad_id: int
  unk_id: int
  start_id: int
  end_id: int
  mask_id: int
  other_special_ids: tuple[int, ...] = ()
  sentinel_ids: tuple[int, ...] = ()
  byte_ids: tuple[int, ...] = ()
  starts_word: np.ndarray | None = dataclasses.field(
    default=None, compare=False, repr=False
  )
  stops: np.ndarray | None = dataclasses.field(
    default=None, compare=False, repr=False
  )
  spellings: tuple[bytes, ...] = dataclasses.field(
    default=(), compare=False, repr=False
  )

  @functools.cached_property
  def special_ids(self) -> tuple[int, ...]:
    """All ids that are neither masked nor predicted, each of them once."""
    return tuple(
      sorted(
        {
          self.pad_id,
          self.unk_id,
          self.start_id,
          self.end_id,
          self.mask_id,
          *self.other_special_ids,
        }
      )
    )

  @functools.cached_property
  def is_ordinary(self) -> np.ndarray:
    """bool[size]: may this id be masked, predicted and drawn?"""
    is_ordinary = np.ones(self.size, bool)
    is_ordinary[list(self.special_ids)] = False
    return is_ordinary

  @functools.cached_property
  def spelling_lengths(self) -> np.ndarray:
    """int64[size]: the bytes of each piece."""
    return np.array([len(spelled) for spelled in self.spellings])

  @functools.cached_property
  def drawn_ids(self) -> np.ndarray:
    """int32: the ids that random replacement draws.

    All ordinary ids except byte pieces. Most of these never occur in the text,
    so they are easy to distinguish from the original tokens.
    """
    is_drawn = self.is_ordinary.copy()
    is_drawn[list(self.byte_ids)] = False
    if not is_drawn.any():
      is_drawn = self.is_ordinary
    return is_drawn.nonzero()[0].astype(np.int32)
