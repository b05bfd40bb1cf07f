"""SentencePiece's normaliser, put together from the tokenizers library's parts.

SentencePiece has a table of characters and sequences to replace, and takes the
longest that fits. The library's `Precompiled` reads the same table, but looks
whole grapheme clusters up and takes the *shortest* entry that fits: where "E"
becomes "e", an "E" with a combining accent becomes "e" and the accent is lost.

Here `Precompiled` sees one character at a time. The sequences are all canonical
compositions, which NFKC makes too, but of more: so a separator goes before each
mark that SentencePiece keeps apart from the character before it. What is left
is that the library's Unicode may be older than the table's.
"""

import collections
import functools
import struct
from collections.abc import Iterable

import numpy as np
from tokenizers import Regex, normalizers

# Ends a grapheme cluster, composes with nothing, and most tables drop it.
_SEPARATOR = "\u0001"

# Marks, joiners and other format characters, what Unicode may yet define, emoji
# modifiers, and letters that begin with a mark when they are taken apart.
_MARKS = r"\p{M}\p{Cf}\p{Cn}\x{1F3FB}-\x{1F3FF}\x{E33}\x{EB3}\x{FF9E}\x{FF9F}"

# NFKC replaces it, but of the tables only some; and what stands for it there.
_TILDE, _NONCHARACTER = "\uff5e", "\ufdd0"


def normalizer(charsmap: bytes) -> normalizers.Normalizer:
  """Returns a normaliser that does to a text what SentencePiece does.

  But for the space before the text, which a pre-tokenizer adds.

  Args:
    charsmap: the table of nfkc, nmt_nfkc or one of their _cf; empty for none.
  """
  spaces = [
    # SentencePiece takes a "▁" for a space, but only here.
    normalizers.Replace(Regex(r"[ ▁]+\z"), ""),
    normalizers.Replace(Regex(" {2,}"), " "),
  ]
  if not charsmap:
    return normalizers.Sequence(spaces)
  entries = _entries(charsmap)
  apart = normalizers.Replace(Regex(_kept_apart(entries)), _SEPARATOR)
  parts = [apart, normalizers.NFKC(), normalizers.Precompiled(charsmap)]
  if _TILDE not in entries:
    parts.insert(0, normalizers.Replace(_TILDE, _NONCHARACTER))
    parts.append(normalizers.Replace(_NONCHARACTER, _TILDE))
  if _SEPARATOR not in entries:
    parts.append(normalizers.Replace(_SEPARATOR, ""))
  return normalizers.Sequence(parts + spaces)


@functools.lru_cache(4)
def _entries(charsmap: bytes) -> frozenset[str]:
  """Returns what a table replaces: the keys of a Darts double array."""
  (size,) = struct.unpack_from("<I", charsmap)
  units = np.frombuffer(charsmap, np.dtype("<u4"), size // 4, offset=4)
  offsets = (units >> 10) << ((units & 1 << 9) >> 6)
  bases = (np.arange(len(units)) ^ offsets).tolist()
  ends = (units >> 8 & 1).tolist()
  children = collections.defaultdict(list)
  # A unit with the highest bit is a value, not a byte.
  for place, label in enumerate((units & 0x800000FF).tolist()):
    if 0 < label < 256:
      children[place ^ label].append((place, bytes([label])))
  found, open_ = [], [(0, b"")]
  for place, key in open_:
    if ends[place]:
      found.append(key.decode())
    open_.extend((child, key + byte) for child, byte in children[bases[place]])
  return frozenset(found)


def _kept_apart(entries: Iterable[str]) -> str:
  """Returns a regex of the places where no entry joins a mark to a character.

  An entry, c m1 ... mn, is known by its last mark and what is before that; any
  c m1 ... mk is an entry too.
  """
  firsts, lasts = (collections.defaultdict(set) for _ in range(2))
  middles = collections.defaultdict(set)
  for first, *middle, last in (key for key in entries if len(key) > 1):
    firsts["".join(middle), last].add(first)
  # Entries that differ in one part alone are put together: 220,000 are few.
  for (middle, last), group in firsts.items():
    lasts[middle, frozenset(group)].add(last)
  for (middle, group), ends in lasts.items():
    middles[len(middle), group, frozenset(ends)].add(middle)
  joined = [
    f"(?<={_one_of(group)}{_one_of(middle)}){_one_of(ends)}"
    for (_, group, ends), middle in middles.items()
  ]
  marks = _one_of({mark for _, mark in firsts})[1:-1]
  # Before the first character there is none, and the library cannot insert.
  return f"(?!\\A)(?=[{_MARKS}{marks}])(?!{'|'.join(joined)})"


def _one_of(texts: Iterable[str]) -> str:
  """Returns a regex of texts of the same length."""
  texts = sorted(texts)
  spelled = ["".join(f"\\x{{{ord(c):X}}}" for c in text) for text in texts]
  if len(texts[0]) == 1:
    return f"[{''.join(spelled)}]"
  return f"(?:{'|'.join(spelled)})" if texts[0] else ""
