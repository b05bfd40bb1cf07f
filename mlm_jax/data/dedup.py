"""Duplicates: which documents of a corpus are copies of earlier ones.

The corpus is read once for it. Of copies the first is kept, so that the answer
depends on the corpus alone.
"""

import array
from collections.abc import Iterator, Sequence

import numpy as np

from mlm_jax.config import DataConfig
from mlm_jax.data import sources
from mlm_jax.data.blocks import digest
from mlm_jax.data.sources import Group
from mlm_jax.errors import InputError

# Near duplicates share so much of their n-grams (Jaccard similarity), by the
# values commonly used: 5-grams, 128 hash functions (Broder 1997).
_THRESHOLD, _NGRAM, _NUM_HASHES, _SEED = 0.8, 5, 128, 42
# With fewer spaces, a text has no words between them.
_MOST_CHARS_A_WORD = 20


def find(data: DataConfig, groups: Sequence[Group]) -> Iterator[frozenset[int]]:
  """Yields, for each group, the numbers of documents that are duplicates.

  Args:
    data: names the corpus; `dedup` says which duplicates.
    groups: of the corpus.

  Raises:
    InputError: the corpus cannot be read, or what `dedup` needs is missing.
  """
  if data.dedup == "none":
    yield from [frozenset()] * len(groups)
    return
  ends, copies = [], {"exact": _Exact, "minhash": _MinHash}[data.dedup]()
  for group in groups:
    for text in sources.read_documents(data, paths=group.paths):
      copies.add(text)
    ends.append(len(copies))
  flags = copies.flags()
  for start, end in zip([0, *ends], ends, strict=False):
    yield frozenset(np.flatnonzero(flags[start:end]).tolist())


class _Exact:
  """Finds copies by a hash: 8 bytes a document."""

  def __init__(self):
    self._digests = array.array("Q")

  def __len__(self) -> int:
    return len(self._digests)

  def add(self, text: str) -> None:
    self._digests.append(digest(text))

  def flags(self) -> np.ndarray:
    """Returns whether each document is a copy, bool."""
    flags = np.ones(len(self), bool)
    digests = np.frombuffer(self._digests, np.uint64)
    flags[np.unique(digests, return_index=True)[1]] = False
    return flags


class _MinHash:
  """Finds near copies by MinHash, and LSH of its bands."""

  def __init__(self):
    try:
      import rensa
    except ImportError as error:
      raise InputError(
        "data.dedup='minhash' needs rensa: pip install 'mlm_jax[dedup]'"
      ) from error
    self._minhash = lambda: rensa.RMinHash(_NUM_HASHES, _SEED)
    self._kept = rensa.RMinHashDeduplicator(
      _THRESHOLD, _NUM_HASHES, use_lsh=True, seed=_SEED
    )
    self._flags = bytearray()

  def __len__(self) -> int:
    return len(self._flags)

  def add(self, text: str) -> None:
    minhash = self._minhash()
    minhash.update(list(_ngrams(text)))
    self._flags.append(not self._kept.add(str(len(self)), minhash))

  def flags(self) -> np.ndarray:
    """Returns whether each document is a copy, bool."""
    return np.frombuffer(self._flags, bool)


def _ngrams(text: str) -> set[str]:
  """Returns the n-grams of words, or of characters in a text without spaces."""
  parts, space = text.lower().split(), " "
  if len(text) > _MOST_CHARS_A_WORD * len(parts):
    parts, space = [*text.lower()], ""
  count = max(1, len(parts) - _NGRAM + 1)
  return {space.join(parts[i : i + _NGRAM]) for i in range(count)}
