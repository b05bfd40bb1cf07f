"""The tokenizers of the Hugging Face ecosystem, as the rest knows tokenizers."""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tokenizers
from etils import epath
from tokenizers import decoders

from mlm_jax.data.tokenizers.base import (
  MASK,
  Tokenizer,
  find_sentinels,
  find_stops,
)
from mlm_jax.errors import InputError, require
from mlm_jax.vocabulary import Vocabulary

FILE = "tokenizer.json"

# They name the special tokens; where both do, the last is right.
NAMING_FILES = ("special_tokens_map.json", "tokenizer_config.json")

# What each of our specials is called in those files, and where they are silent,
# what it usually looks like.
_ROLES = {
  "start": (
    ("cls_token", "bos_token"),
    ("[CLS]", "<s>", "<|begin_of_text|>", "<bos>"),
  ),
  "end": (
    ("sep_token", "eos_token"),
    ("[SEP]", "</s>", "<|end_of_text|>", "<eos>"),
  ),
  "pad": (("pad_token",), ("[PAD]", "<pad>", "<|padding|>")),
  "unk": (("unk_token",), ("[UNK]", "<unk>")),
  "mask": (("mask_token",), (MASK, "<mask>", "<|mask|>")),
}

# BERT's vocabularies keep room for words to come.
_UNUSED = re.compile(r"\[unused\d+\]")


class HuggingFaceTokenizer(Tokenizer):
  """Text to ids and back, by a tokenizer.json.

  Special tokens that are spelled out in a text are text like any other, but for
  masks where they are asked for.

  Args:
    files: the content of a tokenizer.json, by name, and of the files beside it
      that name its special tokens.
    vocab_size: of the model that it belongs to, whose table may have more rows
      than the tokenizer has tokens; those stand for no text.
    name: what errors call it.
  """

  def __init__(
    self,
    files: Mapping[str, bytes],
    vocab_size: int | None = None,
    name: str = "the tokenizer",
  ):
    self.files = dict(files)
    self._tokenizer = parse(files, name)
    self._spec = json.loads(self._tokenizer.to_str())
    for table in ("vocab", "merges"):  # Large, and in the tokenizer already.
      self._spec["model"].pop(table, None)
    # Texts are cut and padded when rows are packed.
    self._tokenizer.no_truncation()
    self._tokenizer.no_padding()
    self._tokenizer.encode_special_tokens = True
    self._ids = self._tokenizer.get_vocab()
    self.own_size = 1 + max(self._ids.values())
    self.vocabulary = self._vocabulary(vocab_size or self.own_size, name)
    self.vocabulary = dataclasses.replace(
      self.vocabulary, starts_word=self._starts_word()
    )
    readings = map(self.reading, range(self.vocabulary.size))
    self.vocabulary = dataclasses.replace(
      self.vocabulary, stops=find_stops(readings)
    )
    self.mask_token = self.pieces[self.vocabulary.mask_id]

  def _vocabulary(self, size: int, name: str) -> Vocabulary:
    require(
      size >= self.own_size,
      f"{name} has {self.own_size} tokens, too many for vocab_size={size}",
    )
    ids = special_ids(self.files, self._ids, name)
    for role in ("start", "end", "pad", "mask"):
      if ids[role] is None:
        hint = "; --add_mask_token adds one to an import"
        raise InputError(
          f"{name} has no {role} token ({' or '.join(_ROLES[role][0])})"
          + (hint if role == "mask" else "")
        )
    require(
      ids["start"] not in (ids["end"], ids["pad"]),
      f"the start token of {name} is its end or padding too: "
      f"{self._tokenizer.id_to_token(ids['start'])}",
    )
    if ids["unk"] is None:
      ids["unk"] = ids["pad"]
    special = {
      t["id"] for t in self._spec.get("added_tokens", ()) if t["special"]
    }
    if ids["pad"] == ids["end"]:
      # Rows must tell them apart (EuroBERT's model never sees its padding).
      free = sorted(special - set(ids.values()))
      require(
        free, f"{name} pads with its end token, and has no other to spare"
      )
      ids["pad"] = free[0]
    named = _named_tokens(self.files, name).values()
    others = {
      *(
        added["id"] for added in self._spec["added_tokens"] if added["special"]
      ),
      *(self._ids[token] for token in named if token in self._ids),
      *(i for piece, i in self._ids.items() if _UNUSED.fullmatch(piece)),
      *(set(range(size)) - set(self._ids.values())),
      *find_sentinels(self._ids),
    }
    return Vocabulary(
      size=size,
      **{f"{role}_id": i for role, i in ids.items()},
      other_special_ids=tuple(sorted(others - set(ids.values()))),
      sentinel_ids=find_sentinels(self._ids),
    )

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    encodings = self._tokenizer.encode_batch_fast(
      list(texts), add_special_tokens=False
    )
    return [self._as_text(encoding.ids) for encoding in encodings]

  def encode_with_masks(self, text: str) -> list[int]:
    text = text.replace(MASK, self.mask_token)
    self._tokenizer.encode_special_tokens = False
    try:
      return self._tokenizer.encode(text, add_special_tokens=False).ids
    finally:
      self._tokenizer.encode_special_tokens = True

  def _as_text(self, ids: list[int]) -> list[int]:
    # A Unigram model finds even its special tokens in a text; in a row, they
    # would be taken for the borders of documents.
    if self._structural.isdisjoint(ids):
      return ids
    return [i for i in ids if i not in self._structural]

  @functools.cached_property
  def _structural(self) -> set[int]:
    return set(self.vocabulary.special_ids) - {self.vocabulary.unk_id}

  def decode(self, ids: Sequence[int]) -> str:
    return self._tokenizer.decode([int(i) for i in ids])

  @functools.cached_property
  def pieces(self) -> list[str]:
    """The piece of each id; "" where the tokenizer has none."""
    of = {i: piece for piece, i in self._ids.items()}
    return [of.get(i, "") for i in range(self.vocabulary.size)]

  def reading(self, piece_id: int) -> str:
    piece = self.pieces[piece_id]
    if self._is_byte_level:
      text = decoders.ByteLevel().decode([piece])
      # Half a character, or a line break, reads better as it is spelled.
      if text.isprintable() and "\ufffd" not in text:
        return text
    if self._space:
      return piece.replace(self._space, " ")
    if self.vocabulary.starts_word[piece_id]:
      return f" {piece}"
    return piece.removeprefix(self._continuation)

  def _starts_word(self) -> np.ndarray:
    if self._space:
      starts = [piece.startswith(self._space) for piece in self.pieces]
    else:
      starts = [
        not self._continuation or not piece.startswith(self._continuation)
        for piece in self.pieces
      ]
    starts = np.array(starts)
    starts[list(self.vocabulary.special_ids)] = False
    return starts

  @functools.cached_property
  def _is_byte_level(self) -> bool:
    return any(part["type"] == "ByteLevel" for part in _parts(self._spec))

  @functools.cached_property
  def _space(self) -> str:
    """How pieces spell the space before a word; "" where they leave it out."""
    if self._is_byte_level:
      return "Ġ"
    for part in _parts(self._spec):
      if part["type"] == "Metaspace":
        return part["replacement"]
      # Llama and Gemma spell a Metaspace as replacements.
      if part["type"] == "Replace" and part["content"] == "▁":
        return "▁"
    return ""

  @functools.cached_property
  def _continuation(self) -> str:
    """How pieces that continue a word begin, "" if none does."""
    return self._spec["model"].get("continuing_subword_prefix") or ""

  @functools.cached_property
  def identity(self) -> str:
    vocab = self.vocabulary
    ids = (vocab.start_id, vocab.end_id, vocab.pad_id, vocab.mask_id)
    content = self.files[FILE] + repr(ids).encode()
    return hashlib.sha256(content).hexdigest()

  def save(self, folder: epath.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in self.files.items():
      (folder / name).write_bytes(content)


def read(path: epath.Path) -> dict[str, bytes]:
  """Reads a tokenizer.json and what lies beside it: the content by name."""
  files = {FILE: path.read_bytes()}
  for name in NAMING_FILES:
    if (path.parent / name).exists():
      files[name] = (path.parent / name).read_bytes()
  return files


def parse(files: Mapping[str, bytes], name: str) -> tokenizers.Tokenizer:
  """Returns the library's tokenizer.

  Raises:
    InputError: it cannot be one.
  """
  try:
    tokenizer = tokenizers.Tokenizer.from_str(files[FILE].decode())
  except Exception as error:  # The library raises no narrower one.
    raise InputError(f"{name} is not a tokenizer.json") from error
  require(tokenizer.get_vocab_size() > 0, f"{name} has no tokens")
  return tokenizer


def special_ids(
  files: Mapping[str, bytes], vocab: Mapping[str, int], name: str
) -> dict[str, int | None]:
  """Returns the ids of "start", "end", "pad", "unk" and "mask"; None if absent.

  By the names that the files beside a tokenizer.json give, or by usual ones.
  """
  named = _named_tokens(files, name)
  ids = {}
  for role, (keys, usual) in _ROLES.items():
    tokens = [named[key] for key in keys if key in named] or usual
    ids[role] = next((vocab[t] for t in tokens if t in vocab), None)
  return ids


def _named_tokens(files: Mapping[str, bytes], name: str) -> dict[str, str]:
  """Returns what files call their special tokens: {"cls_token": "<s>", ...}."""
  named = {}
  for file in NAMING_FILES:
    try:
      items = json.loads(files.get(file, b"{}")).items()
    except (ValueError, AttributeError) as error:
      raise InputError(f"the {file} of {name} is no JSON object") from error
    for key, value in items:
      token = value.get("content") if isinstance(value, dict) else value
      if key.endswith("_token") and isinstance(token, str):
        named[key] = token
  return named


def _parts(spec) -> Iterator[dict]:
  """Walks the parts of a tokenizer.json that see the text before its model."""
  for key in ("normalizer", "pre_tokenizer"):
    yield from _flat(spec.get(key))


def _flat(part: dict | None) -> Iterator[dict]:
  if part is None:
    return
  if part["type"] == "Sequence":
    for inner in part.get("normalizers") or part.get("pretokenizers") or ():
      yield from _flat(inner)
  else:
    yield part
