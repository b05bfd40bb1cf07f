"""Where words begin in scripts without spaces, as a segmenter of texts says.

Rows hold ids; the text of their pieces is put together again and segmented
while batches are made.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Iterator

import numpy as np

from mlm_jax.data.tokenizers.base import begins_unspaced
from mlm_jax.errors import InputError, require
from mlm_jax.vocabulary import Vocabulary

# A text -> the words that it consists of, spaces and punctuation included.
Segmenter = Callable[[str], Iterator[str]]


@functools.cache
def segmenter(name: str) -> Segmenter:
  """Returns the segmenter that `corruption.word_boundaries` names.

  Raises:
    InputError: its package is not installed, or there is no such word list.
  """
  if name == "jieba":
    return _jieba()
  if name == "icu":
    return _icu()
  path = os.path.expanduser(name)
  require(
    os.path.isfile(path),
    f"corruption.word_boundaries={name!r} must be 'spaces', 'icu', 'jieba' or "
    "the path of a list of words, one a line",
  )
  try:
    with open(path, encoding="utf-8-sig") as file:
      words = {line.strip() for line in file} - {""}
  except UnicodeDecodeError as error:
    raise InputError(
      f"corruption.word_boundaries: {name} is not UTF-8"
    ) from error
  require(words, f"corruption.word_boundaries: {name} holds no word")
  return functools.partial(_longest_words, words, max(map(len, words)))


def word_starts(
  rows_BL: np.ndarray, vocab: Vocabulary, segment: Segmenter
) -> np.ndarray:
  """Returns bool [B, L], which tokens begin a word.

  A token begins one if a word begins within it, or where the token before it
  ends. Special tokens do not.
  """
  starts_BL = np.zeros(rows_BL.shape, bool)
  for row, starts in zip(rows_BL, starts_BL, strict=True):
    ordinary = np.flatnonzero(vocab.is_ordinary[row])
    breaks = np.flatnonzero(np.diff(ordinary) > 1) + 1
    for run in np.split(ordinary, breaks):
      if len(run):
        starts[run] = _starts_of_run(row[run], vocab, segment)
  return starts_BL


def _starts_of_run(ids, vocab, segment) -> np.ndarray:
  spelled = b"".join(vocab.spellings[i] for i in ids)
  # Parts of characters become characters of their own, of one byte each.
  words = segment(spelled.decode(errors="surrogateescape"))
  sizes = [len(word.encode(errors="surrogateescape")) for word in words]
  begins = np.cumsum([0, *sizes[:-1]])
  ends = np.cumsum(vocab.spelling_lengths[ids])
  # How many words have begun by the end of each token.
  begun = np.searchsorted(begins, ends, side="left")
  return np.diff(begun, prepend=0) > 0


def _longest_words(words, longest: int, text: str) -> Iterator[str]:
  """Yields the longest word of a list at each place.

  Where there is none, that is a run of letters of a script with spaces, or one
  character.
  """
  start = 0
  while start < len(text):
    sizes = range(min(longest, len(text) - start), 0, -1)
    size = next((n for n in sizes if text[start : start + n] in words), 0)
    if not size:
      size = 1
      while _is_spaced(text[start]) and _is_spaced(
        text[start + size : start + size + 1]
      ):
        size += 1
    yield text[start : start + size]
    start += size


def _is_spaced(text: str) -> bool:
  """Returns whether letters are of scripts with spaces between words."""
  return text.isalnum() and not any(map(begins_unspaced, text))


def _jieba() -> Segmenter:
  try:
    import jieba
  except ImportError as error:
    raise _missing("jieba", "jieba") from error
  jieba.setLogLevel("ERROR")

  def cut(text: str) -> Iterator[str]:
    # It cuts what is neither Chinese nor ASCII into characters.
    for is_spaced, group in itertools.groupby(jieba.cut(text), _is_spaced):
      words = list(group)
      yield from ["".join(words)] if is_spaced else words

  return cut


def _icu() -> Segmenter:
  try:
    import icu
  except ImportError as error:
    raise _missing("icu", "PyICU") from error

  def cut(text: str) -> Iterator[str]:
    # Not shared: threads segment rows at once, and an iterator has a place.
    iterator = icu.BreakIterator.createWordInstance(icu.Locale.getRoot())
    wide = text.encode("utf-16-le", "surrogatepass")
    iterator.setText(icu.UnicodeString(text))
    start = 0
    for end in iterator:
      part = wide[2 * start : 2 * end]
      yield part.decode("utf-16-le", "surrogatepass")
      start = end

  return cut


def _missing(name: str, package: str) -> InputError:
  return InputError(
    f"corruption.word_boundaries={name!r} needs {package}: pip install "
    f"'mlm_jax[{name}]'"
  )
