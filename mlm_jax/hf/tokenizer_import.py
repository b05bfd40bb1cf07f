"""Imports a Hugging Face tokenizer, and adds tokens to it."""

import json
import tempfile
from collections.abc import Mapping, Sequence

from etils import epath
from tokenizers import AddedToken

from mlm_jax.data.tokenizers import MASK, tokenizer_json
from mlm_jax.data.tokenizers.tokenizer_json import (
  FILE,
  NAMING_FILES,
  HuggingFaceTokenizer,
)
from mlm_jax.errors import InputError, require
from mlm_jax.hf.files import json_bytes

# Files of older tokenizers, which transformers converts to a tokenizer.json.
_OLDER_FILES = ("vocab.txt", "vocab.json", "*.model")


def import_tokenizer(
  folder: epath.Path, vocab_size: int, add_mask_token: bool = False
) -> HuggingFaceTokenizer:
  """Reads the tokenizer of a Hugging Face model.

  It never runs code from the folder, nor opens a pickle.

  Args:
    folder: of the model.
    vocab_size: the number of rows of its embedding table.
    add_mask_token: add a mask token to a model that was trained without one. It
      gets the next free id, so `vocabulary.size` may be vocab_size + 1.

  Raises:
    InputError: there is no tokenizer, it lacks a special token, or
      `add_mask_token` is set and it already has a mask token.
  """
  files = _read(folder)
  name = f"the tokenizer in {folder}"
  if add_mask_token:
    files, own_size = _with_mask(files, name)
    require(
      own_size <= vocab_size + 1,
      f"{name} has {own_size - 1} tokens, but the model only {vocab_size}",
    )
    vocab_size = max(vocab_size, own_size)
  return HuggingFaceTokenizer(files, vocab_size, name)


def _read(folder: epath.Path) -> dict[str, bytes]:
  if (folder / FILE).exists():
    return tokenizer_json.read(folder / FILE)
  if not any(any(folder.glob(pattern)) for pattern in _OLDER_FILES):
    raise InputError(
      f"no tokenizer in {folder}: no {FILE}, nor an older format"
    )
  try:
    from transformers import AutoTokenizer
  except ImportError as error:
    raise InputError(
      f"{folder} has no {FILE}; pip install 'mlm_jax[hf]' to convert its "
      "older tokenizer"
    ) from error
  try:
    older = AutoTokenizer.from_pretrained(
      str(folder), trust_remote_code=False, local_files_only=True
    )
    with tempfile.TemporaryDirectory() as converted:
      older.save_pretrained(converted)
      return tokenizer_json.read(epath.Path(converted) / FILE)
  except Exception as error:  # A tokenizer's class may raise anything.
    reason = str(error).strip().partition("\n")[0]
    raise InputError(
      f"transformers cannot read the tokenizer in {folder}: {reason}"
    ) from error


def add_tokens(
  tokenizer: HuggingFaceTokenizer, tokens: Sequence[str], special: bool = False
) -> tuple[HuggingFaceTokenizer, dict[int, list[int]]]:
  """Adds tokens to a tokenizer; those that it already has keep their ids.

  Args:
    tokenizer: not modified.
    tokens: the tokens, usually words.
    special: whether they are special tokens, which are never predicted.

  Returns:
    The new tokenizer, whose new ids follow the existing ones and use the
    model's free rows first; and for each new id, the ids that encoded the same
    text before.
  """
  before = tokenizer.num_tokens
  files, own_size = _with_tokens(
    tokenizer.files,
    # Whole words only: words that contain them are encoded as before.
    [
      AddedToken(token, special=special, single_word=True)
      for token in tokens
      if token not in tokenizer.pieces
    ],
    "the tokenizer",
  )
  added = HuggingFaceTokenizer(files, max(tokenizer.vocabulary.size, own_size))
  new_ids = range(before, own_size)
  old_ids = tokenizer.encode([added.pieces[i] for i in new_ids])
  return added, dict(zip(new_ids, old_ids, strict=True))


def _with_mask(
  files: Mapping[str, bytes], name: str
) -> tuple[dict[str, bytes], int]:
  parsed = tokenizer_json.parse(files, name)
  ids = tokenizer_json.special_ids(files, parsed.get_vocab(), name)
  require(ids["mask"] is None, f"{name} already has a mask token")
  require(ids["start"] is not None, f"{name} has no start token")
  start = parsed.id_to_token(ids["start"])
  mask = "<mask>" if start.startswith("<") else MASK
  files, own_size = _with_tokens(
    files, [AddedToken(mask, lstrip=True, normalized=False, special=True)], name
  )
  present = [file for file in NAMING_FILES if file in files]
  for file in present or NAMING_FILES[:1]:
    names = json.loads(files.get(file, b"{}"))
    files[file] = json_bytes({**names, "mask_token": mask})
  return files, own_size


def _with_tokens(files, tokens, name) -> tuple[dict[str, bytes], int]:
  """Returns the files with tokens added, and the new number of ids."""
  parsed = tokenizer_json.parse(files, name)
  before = set(parsed.get_vocab().values())
  parsed.add_tokens(tokens)
  after = set(parsed.get_vocab().values())
  require(
    after == {*before, *range(max(before) + 1, max(after) + 1)},
    f"{name} has ids without a token, so no token can be added",
  )
  files = {**files, FILE: parsed.to_str(pretty=True).encode()}
  return files, max(after) + 1
