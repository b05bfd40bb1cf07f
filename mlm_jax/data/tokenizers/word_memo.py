"""Encodes a text word by word, and each word once.

Most words of a corpus have been met before: a dictionary finds their ids five
times as fast as the tokenizers library. That is exact where a tokenizer never
looks from one word into the next; `word_pattern` says where.
"""

import itertools
import re
from collections.abc import Callable, Sequence

from mlm_jax.data.tokenizers.tokenizer_files import flat

# What a process keeps: 60 MB. The words met first are mostly the frequent ones.
_MAX_WORDS = 1 << 18
_MAX_LENGTH = 64

# Unicode's White_Space, which is not Python's \s.
_SPACE = " \t-\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

# A word and all white space before it. GPT-2's pattern gives it the last space
# of that, and the rest to tokens of white space alone.
_GPT_2 = re.compile(f"[{_SPACE}]*[^{_SPACE}]+|[{_SPACE}]+")

# The pattern of Llama 3, and of EuroBERT: punctuation takes line breaks that
# follow it.
_LLAMA_3 = re.compile(
  f"[{_SPACE}]*[^{_SPACE}]+(?:[\r\n][{_SPACE}]*[^{_SPACE}]*)*|[{_SPACE}]+"
)
_LLAMA_3_SPLIT = (
  r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
  r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# BERT drops white space. Other than this, its normalizer may remove it.
_BERT = re.compile(r"[^ \t\n\r]+")
_DROP_SPACES = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}

# Normalizers that map each character by itself. Only the first map none to a
# space, which matters where spaces are kept.
_LOCAL = {"NFC", "NFD", "Lowercase"}
_MAKE_SPACES = {"NFKC", "NFKD", "BertNormalizer", "StripAccents"}


class WordMemo:
  """The ids of texts, from those of the words met so far.

  Args:
    word: finds the words of a text, as `word_pattern` returns it.
    encode: returns the ids of each of some texts.
  """

  def __init__(
    self, word: re.Pattern, encode: Callable[[list[str]], list[list[int]]]
  ):
    self._find, self._encode = word.findall, encode
    # Tuples: the garbage collector does not visit those of numbers again.
    self._ids: dict[str, tuple[int, ...]] = {}

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    """Returns the ids of each text."""
    words = [self._find(text) for text in texts]
    new = list({*itertools.chain.from_iterable(words)} - self._ids.keys())
    found = dict(zip(new, map(tuple, self._encode(new)), strict=True))
    kept = {w: ids for w, ids in found.items() if len(w) <= _MAX_LENGTH}
    known = self._ids
    # Nothing is ever removed: other threads may be about to read it.
    if len(known) + len(kept) <= _MAX_WORDS:
      known.update(kept)

    def ids_of(words):
      try:
        ids = map(known.__getitem__, words)
        return [*itertools.chain.from_iterable(ids)]
      except KeyError:  # One of them is not kept.
        ids = (found[w] if w in found else known[w] for w in words)
        return [*itertools.chain.from_iterable(ids)]

    return [ids_of(text) for text in words]


def word_pattern(spec: dict) -> re.Pattern | None:
  """Returns what finds words whose ids, one after the other, are a text's.

  Args:
    spec: the contents of a tokenizer.json.

  Returns:
    None if ids may depend on other words, or nothing is known of that.
  """
  normalizers = {part["type"] for part in flat(spec.get("normalizer"))}
  splitters = list(flat(spec.get("pre_tokenizer")))
  if not splitters or spec["model"].get("dropout"):
    return None
  if any(part["type"] == "Metaspace" for part in splitters):
    return None  # It may treat the first word of a text apart.
  tokens = spec["added_tokens"]
  if any(token["rstrip"] for token in tokens):
    return None
  spaced = [t["content"] for t in tokens if re.search(r"\s", t["content"])]
  if splitters[0]["type"] in _DROP_SPACES:
    local = normalizers <= _LOCAL | _MAKE_SPACES
    return _BERT if local and not spaced else None
  # A run of white space stands in one word, so there may be tokens of several.
  if not all(len(text) > 1 and text.isspace() for text in spaced):
    return None
  return _byte_level_pattern(splitters) if normalizers <= _LOCAL else None


def _byte_level_pattern(splitters: list[dict]) -> re.Pattern | None:
  *first, last = splitters
  # A space is put before each word, too, if it begins with a line break.
  if last["type"] != "ByteLevel" or last["add_prefix_space"]:
    return None
  if not first:
    return _GPT_2 if last.get("use_regex", True) else None
  llama = {"type": "Split", "pattern": {"Regex": _LLAMA_3_SPLIT}}
  llama |= {"behavior": "Isolated", "invert": False}
  is_llama = first == [llama] and not last.get("use_regex", True)
  return _LLAMA_3 if is_llama else None
