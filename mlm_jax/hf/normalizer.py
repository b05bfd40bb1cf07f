"""SentencePiece's normalizer, made of normalizers of the tokenizers library.

SentencePiece has a table of characters and sequences to replace, and replaces
the longest match. The library's `Precompiled` reads the same table, but looks
up whole grapheme clusters and replaces the *shortest* match: if "E" maps to
"e", an "E" with a combining accent becomes "e" and the accent is lost.

Here `Precompiled` sees one character at a time. All sequences of the table are
canonical compositions, and NFKC composes these and more. A separator is
therefore inserted before each mark that SentencePiece does not compose with the
character before it. One difference remains: the library may know an older
version of Unicode than the table.
"""

import collections
import functools
import struct
from collections.abc import Iterable

import numpy as np
from tokenizers import Regex, normalizers

# It ends a grapheme cluster, composes with nothing, and most tables remove it.
_SEPARATOR = "\u0001"

# Marks, joiners and other format characters, unassigned characters, emoji
# modifiers, and letters whose decomposition starts with a mark.
_MARKS = r"\p{M}\p{Cf}\p{Cn}\x{1F3FB}-\x{1F3FF}\x{E33}\x{EB3}\x{FF9E}\x{FF9F}"

# NFKC replaces the full-width tilde, but only some tables do. For the others, a
# noncharacter takes its place meanwhile.
_TILDE, _NONCHARACTER = "\uff5e", "\ufdd0"


def normalizer(charsmap: bytes) -> normalizers.Normalizer:
  """Returns a normalizer equivalent to SentencePiece's.

  It does not add the space before the text; a pre-tokenizer does.

  Args:
    charsmap: the precompiled table of nfkc, nmt_nfkc, or their _cf variants;
      empty for the identity.
  """
  spaces = [
    # SentencePiece treats "▁" as a space, but only at the end.
    normalizers.Replace(Regex(r"[ ▁]+\z"), ""),
    normalizers.Replace(Regex(" {2,}"), " "),
  ]
  if not charsmap:
    return normalizers.Sequence(spaces)
  entries = _entries(charsmap)
  boundaries = Regex(_mark_boundaries(entries))
  steps = [
    normalizers.Replace(boundaries, _SEPARATOR),
    normalizers.NFKC(),
    normalizers.Precompiled(charsmap),
  ]
  if _TILDE not in entries:
    steps.insert(0, normalizers.Replace(_TILDE, _NONCHARACTER))
    steps.append(normalizers.Replace(_NONCHARACTER, _TILDE))
  if _SEPARATOR not in entries:
    steps.append(normalizers.Replace(_SEPARATOR, ""))
  return normalizers.Sequence(steps + spaces)


@functools.lru_cache(4)
def _entries(charsmap: bytes) -> frozenset[str]:
  """Returns the keys of a table, which is a Darts double-array trie."""
  (size,) = struct.unpack_from("<I", charsmap)
  units = np.frombuffer(charsmap, np.dtype("<u4"), size // 4, offset=4)
  offsets = (units >> 10) << ((units & 1 << 9) >> 6)
  bases = (np.arange(len(units)) ^ offsets).tolist()
  ends = (units >> 8 & 1).tolist()
  children = collections.defaultdict(list)
  # A unit whose highest bit is set is a value, not a byte.
  for index, label in enumerate((units & 0x800000FF).tolist()):
    if 0 < label < 256:
      children[index ^ label].append((index, bytes([label])))
  keys, queue = [], [(0, b"")]
  for index, key in queue:
    if ends[index]:
      keys.append(key.decode())
    queue.extend((child, key + byte) for child, byte in children[bases[index]])
  return frozenset(keys)


def _mark_boundaries(entries: Iterable[str]) -> str:
  """Returns a regex for marks that no entry composes with what precedes them.

  For an entry c m1 ... mn, every c m1 ... mk is an entry too; so it is enough
  to match the last mark with what is before it.
  """
  firsts, lasts = (collections.defaultdict(set) for _ in range(2))
  middles = collections.defaultdict(set)
  # Sorted: the order of a set of strings differs from process to process.
  for first, *middle, last in sorted(key for key in entries if len(key) > 1):
    firsts["".join(middle), last].add(first)
  # Merge entries that differ in one component: 220,000 become a few.
  for (middle, last), group in firsts.items():
    lasts[middle, frozenset(group)].add(last)
  for (middle, group), ends in lasts.items():
    middles[len(middle), group, frozenset(ends)].add(middle)
  joined = [
    f"(?<={_one_of(group)}{_one_of(middle)}){_one_of(ends)}"
    for (_, group, ends), middle in middles.items()
  ]
  marks = _one_of({mark for _, mark in firsts})[1:-1]
  # Not at the start of the text, where the library cannot insert.
  return f"(?!\\A)(?=[{_MARKS}{marks}])(?!{'|'.join(joined)})"


def _one_of(texts: Iterable[str]) -> str:
  """Returns a regex of texts of the same length."""
  texts = sorted(texts)
  spelled = ["".join(f"\\x{{{ord(c):X}}}" for c in text) for text in texts]
  if len(texts[0]) == 1:
    return f"[{''.join(spelled)}]"
  return f"(?:{'|'.join(spelled)})" if texts[0] else ""
