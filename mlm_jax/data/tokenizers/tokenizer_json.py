"""Tokenizers of the Hugging Face ecosystem: tokenizer.json files."""

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

from mlm_jax.data.tokenizers import word_memo
from mlm_jax.data.tokenizers.base import (
  BYTE,
  MASK,
  STRUCTURE,
  Tokenizer,
  begins_unspaced,
  byte_level_spelling,
  find_sentinels,
  find_stops,
  spelling,
)
from mlm_jax.data.tokenizers.tokenizer_files import (
  FILE,
  ROLES,
  flat,
  named_tokens,
  parse,
  special_ids,
)
from mlm_jax.errors import InputError, require
from mlm_jax.vocabulary import Vocabulary

# Placeholders for words to be added, in BERT's vocabularies.
_UNUSED = re.compile(r"\[unused\d+\]")


class HuggingFaceTokenizer(Tokenizer):
  """Text to ids and back, by a tokenizer.json.

  Args:
    files: the contents, by file name, of a tokenizer.json and of the files
      beside it that name its special tokens.
    vocab_size: rows of the embedding table of its model, by default as many as
      it has tokens; more rows are special tokens, which stand for no text.
    name: how error messages refer to it.

  Attributes:
    files: as given; what `save` writes.
    num_tokens: 1 + the largest id of a token.

  Raises:
    InputError: it is no tokenizer.json, lacks a special token, or has more
      tokens than `vocab_size`.
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
    for table in ("vocab", "merges"):  # Large, and not needed here.
      self._spec["model"].pop(table, None)
    # Packing cuts and pads, so the tokenizer must not.
    self._tokenizer.no_truncation()
    self._tokenizer.no_padding()
    self._tokenizer.encode_special_tokens = True
    self._ids = self._tokenizer.get_vocab()
    self.num_tokens = 1 + max(self._ids.values())
    self.vocabulary = self._vocabulary(vocab_size or self.num_tokens, name)
    self._find_own_tokens()
    self.vocabulary = dataclasses.replace(
      self.vocabulary, starts_word=self._starts_word()
    )
    texts = map(self.display_text, range(self.vocabulary.size))
    self.vocabulary = dataclasses.replace(
      self.vocabulary, stops=find_stops(texts), spellings=self._spellings()
    )
    self.mask_token = self.pieces[self.vocabulary.mask_id]
    word = word_memo.word_pattern(self._spec)
    self._memo = word_memo.WordMemo(word, self._encode) if word else None

  def _vocabulary(self, size: int, name: str) -> Vocabulary:
    require(
      size >= self.num_tokens,
      f"{name} has {self.num_tokens} tokens, too many for vocab_size={size}",
    )
    special = {t["id"] for t in self._spec["added_tokens"] if t["special"]}
    roles = self._role_ids(special, name)
    named = named_tokens(self.files, name).values()
    sentinel_ids = find_sentinels(self._ids)
    others = special | {
      *(self._ids[token] for token in named if token in self._ids),
      *(i for piece, i in self._ids.items() if _UNUSED.fullmatch(piece)),
      *(set(range(size)) - set(self._ids.values())),
      *sentinel_ids,
    }
    return Vocabulary(
      size=size,
      pad_id=roles["pad"],
      unk_id=roles["unk"],
      start_id=roles["start"],
      end_id=roles["end"],
      mask_id=roles["mask"],
      other_special_ids=tuple(sorted(others - set(roles.values()))),
      sentinel_ids=sentinel_ids,
      byte_ids=tuple(
        sorted(i for piece, i in self._ids.items() if BYTE.fullmatch(piece))
      ),
    )

  @functools.cached_property
  def _own_ids(self) -> set[int]:
    """The special tokens that keep their ids in a text."""
    vocab = self.vocabulary
    structure = {
      *(vocab.pad_id, vocab.unk_id, vocab.start_id, vocab.end_id),
      *(vocab.mask_id, *vocab.sentinel_ids),
    }
    return {
      token["id"]
      for token in self._spec["added_tokens"]
      if token["special"]
      and token["id"] not in structure
      and token["content"] not in STRUCTURE
      and not _UNUSED.fullmatch(token["content"])
    }

  def _find_own_tokens(self) -> None:
    """Makes the library find these, where it leaves out special tokens."""
    if not self._own_ids:
      return
    spec = json.loads(self._tokenizer.to_str())
    for token in spec["added_tokens"]:
      token["special"] &= token["id"] not in self._own_ids
    self._tokenizer = tokenizers.Tokenizer.from_str(json.dumps(spec))
    self._tokenizer.encode_special_tokens = True

  def _role_ids(self, special: set[int], name: str) -> dict[str, int]:
    """Returns the id of each role; raises InputError if one has none."""
    ids = special_ids(self.files, self._ids, name)
    for role in ("start", "end", "pad", "mask"):
      if ids[role] is None:
        hint = "; --add_mask_token adds one to an import"
        raise InputError(
          f"{name} has no {role} token ({' or '.join(ROLES[role][0])})"
          + (hint if role == "mask" else "")
        )
    require(
      ids["start"] not in (ids["end"], ids["pad"]),
      f"the start token of {name} is its end or padding token too: "
      f"{self._tokenizer.id_to_token(ids['start'])}",
    )
    if ids["unk"] is None:
      ids["unk"] = ids["pad"]
    if ids["pad"] == ids["end"]:
      # Rows must distinguish them. EuroBERT's tokenizer is one of these; its
      # model never attends to padding, so any token will do.
      free = sorted(special - set(ids.values()))
      require(
        free,
        f"{name} pads with its end token, and has no other special token to "
        "pad with",
      )
      ids["pad"] = free[0]
    return ids

  def encode(self, texts: Sequence[str]) -> list[list[int]]:
    if self._memo:
      return self._memo.encode(texts)
    return self._encode(list(texts))

  def _encode(self, texts: list[str]) -> list[list[int]]:
    encodings = self._tokenizer.encode_batch_fast(
      texts, add_special_tokens=False
    )
    return [self._without_specials(encoding.ids) for encoding in encodings]

  def __reduce__(self):
    return HuggingFaceTokenizer, (self.files, self.vocabulary.size)

  def encode_with_masks(self, text: str) -> list[int]:
    text = text.replace(MASK, self.mask_token)
    self._tokenizer.encode_special_tokens = False
    try:
      return self._tokenizer.encode(text, add_special_tokens=False).ids
    finally:
      self._tokenizer.encode_special_tokens = True

  def _without_specials(self, ids: list[int]) -> list[int]:
    # A Unigram model finds even its special tokens in a text; in a row, they
    # would be taken for the boundaries of documents.
    if self._known_specials.isdisjoint(ids):
      return ids
    return [i for i in ids if i not in self._known_specials]

  @functools.cached_property
  def _known_specials(self) -> set[int]:
    special = {*self.vocabulary.special_ids} - {self.vocabulary.unk_id}
    return special - self._own_ids

  def normalized(self, text: str) -> str:
    """Returns what a text is before it is split, such as in lower case."""
    normalizer = self._tokenizer.normalizer
    return normalizer.normalize_str(text) if normalizer else text

  def encode_words(self, words: Sequence[str]) -> list[list[int]]:
    """Returns the ids that each word has after another one."""
    space = " " if self.is_byte_level else ""
    return self.encode([space + word for word in words])

  def decode(self, ids: Sequence[int]) -> str:
    text, run = "", []
    for i in map(int, ids):
      if i in self._own_spaces:
        text += self._tokenizer.decode(run) + " " * bool(text or run)
        run = []
      run.append(i)
    return text + self._tokenizer.decode(run)

  @functools.cached_property
  def _own_spaces(self) -> set[int]:
    """The added words of a byte-level model: the space before is theirs."""
    return {
      token["id"]
      for token in self._spec["added_tokens"]
      if self.is_byte_level and token["lstrip"] and not token["special"]
    }

  @functools.cached_property
  def pieces(self) -> list[str]:
    """The piece of each id, "" for an id without one."""
    pieces = {i: piece for piece, i in self._ids.items()}
    return [pieces.get(i, "") for i in range(self.vocabulary.size)]

  def display_text(self, piece_id: int) -> str:
    piece = self.pieces[piece_id]
    if piece_id in self._own_spaces:
      return " " + piece
    if self.is_byte_level:
      text = decoders.ByteLevel().decode([piece])
      # Part of a character, or a line break, is clearer as it is spelled.
      if text.isprintable() and "\ufffd" not in text:
        return text
    if self._space:
      return piece.replace(self._space, " ")
    if self._continuation and piece.startswith(self._continuation):
      return piece.removeprefix(self._continuation)
    return f" {piece}" if self.vocabulary.starts_word[piece_id] else piece

  def _starts_word(self) -> np.ndarray:
    if self._space:
      starts = [piece.startswith(self._space) for piece in self.pieces]
    else:
      starts = [
        not self._continuation or not piece.startswith(self._continuation)
        for piece in self.pieces
      ]
    starts = np.array(starts) | [
      begins_unspaced(self._spelled(piece)) for piece in self.pieces
    ]
    starts[list(self._own_spaces)] = True
    starts[list(self.vocabulary.special_ids)] = False
    return starts

  def _spellings(self) -> tuple[bytes, ...]:
    """Returns `Vocabulary.spellings`."""
    if self.is_byte_level:
      return tuple(
        b" " * (number in self._own_spaces) + byte_level_spelling(piece)
        for number, piece in enumerate(self.pieces)
      )
    texts = map(self.display_text, range(len(self.pieces)))
    return tuple(
      # Where pieces have no mark of spaces, there may be none.
      spelling(text.lstrip(" ") if begins_unspaced(text.lstrip(" ")) else text)
      for text in texts
    )

  def _spelled(self, piece: str) -> str:
    """Returns the characters that a piece stands for, without its mark."""
    if self.is_byte_level:
      return decoders.ByteLevel().decode([piece])
    return piece.removeprefix(self._continuation)

  @functools.cached_property
  def is_byte_level(self) -> bool:
    """Whether pieces spell bytes, as GPT-2's do."""
    return any(part["type"] == "ByteLevel" for part in _parts(self._spec))

  @functools.cached_property
  def _space(self) -> str:
    """How pieces spell the space before a word, "" if they omit it."""
    if self.is_byte_level:
      return "Ġ"
    for part in _parts(self._spec):
      if part["type"] == "Metaspace":
        return part["replacement"]
      # Llama and Gemma have a Replace in place of a Metaspace.
      if part["type"] == "Replace" and part["content"] == "▁":
        return "▁"
    return ""

  @functools.cached_property
  def _continuation(self) -> str:
    """The prefix of pieces that continue a word, "" if there is none."""
    return self._spec["model"].get("continuing_subword_prefix") or ""

  @property
  def max_tokens(self) -> int:
    """Where its tokenizer_config.json cuts texts, 0 for nowhere."""
    config = json.loads(self.files.get("tokenizer_config.json", b"{}"))
    limit = config.get("model_max_length")
    # transformers writes 10^30 for no limit, as an integer or a float.
    has_limit = isinstance(limit, (int, float)) and 0 < limit < 1 << 40
    return int(limit) if has_limit else 0

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


def _parts(spec) -> Iterator[dict]:
  """Yields the normalizers and pre-tokenizers of a tokenizer.json, flat."""
  for key in ("normalizer", "pre_tokenizer"):
    yield from flat(spec.get(key))
