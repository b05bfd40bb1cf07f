"""Imports a Hugging Face tokenizer, and adds tokens to it."""

import functools
import json
import tempfile
from collections.abc import Mapping, Sequence

from etils import epath
from tokenizers import AddedToken

from mlm_jax.data.tokenizers import (
  MASK,
  HuggingFaceTokenizer,
  tokenizer_files,
)
from mlm_jax.data.tokenizers.tokenizer_files import FILE, NAMING_FILES
from mlm_jax.errors import InputError, require
from mlm_jax.hf import tokenizer_parity
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


def as_transformers_reads_it(
  tokenizer: HuggingFaceTokenizer,
  folder: epath.Path,
  max_positions: int,
  add_mask_token: bool = False,
) -> tuple[HuggingFaceTokenizer, str]:
  """Returns the tokenizer that users of a model have had, and a line of text.

  transformers may read a tokenizer.json otherwise than it says, by the files
  beside it, such as `do_lower_case`. Then its reading is returned.

  Args:
    tokenizer: what `import_tokenizer` returned.
    folder: of the model.
    max_positions: of the model.
    add_mask_token: as for `import_tokenizer`.

  Raises:
    InputError: no tokenizer.json has the ids that transformers makes.
  """
  if not tokenizer_parity.is_possible():
    return tokenizer, "not checked: transformers is not installed"
  theirs = tokenizer_parity.load(folder)
  compare = functools.partial(
    tokenizer_parity.difference,
    theirs=theirs,
    max_tokens=max_positions,
    add_special_tokens=False,
  )
  found = compare(tokenizer)
  if not found:
    return tokenizer, "checked: transformers makes the same ids"
  backend = theirs.backend_tokenizer
  files = {**tokenizer.files, FILE: backend.to_str(pretty=True).encode()}
  name = f"the tokenizer in {folder}"
  ids = tokenizer_files.special_ids(files, backend.get_vocab(), name)
  if add_mask_token and ids["mask"] is None:
    files, _ = _with_mask(files, name)
  taken = HuggingFaceTokenizer(files, tokenizer.vocabulary.size)
  left = compare(taken)
  require(
    not left,
    f"transformers' tokenizer differs: {left}; --no-parity skips the check",
  )
  return taken, (
    f"taken as transformers reads it, which differs from its {FILE}: {found}"
  )


def _read(folder: epath.Path) -> dict[str, bytes]:
  if (folder / FILE).exists():
    return tokenizer_files.read(folder / FILE)
  if not any(any(folder.glob(pattern)) for pattern in _OLDER_FILES):
    raise InputError(
      f"no tokenizer in {folder}: no {FILE}, nor an older format"
    )
  require(
    tokenizer_parity.is_possible(),
    f"{folder} has no {FILE}; pip install 'mlm_jax[hf]' to convert its older "
    "tokenizer",
  )
  older = tokenizer_parity.load(folder)
  require(
    older.is_fast,
    f"the tokenizer in {folder} is a {type(older).__name__}, which is Python "
    f"code alone: no {FILE} can do the same",
  )
  with tempfile.TemporaryDirectory() as converted:
    older.save_pretrained(converted)
    return tokenizer_files.read(epath.Path(converted) / FILE)


def add_tokens(
  tokenizer: HuggingFaceTokenizer, tokens: Sequence[str], special: bool = False
) -> tuple[HuggingFaceTokenizer, dict[int, list[int]]]:
  """Adds tokens to a tokenizer, but for those that it already has.

  It has a word if that is one token in running text: after a space, and in the
  spelling that is left of it, such as lower case. In a byte-level model, a new
  token takes the space before it.

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
  pieces, new = set(tokenizer.pieces), {}
  for token, ids in zip(tokens, tokenizer.encode_words(tokens), strict=True):
    is_one = len(ids) == 1 and ids[0] != tokenizer.vocabulary.unk_id
    if not (is_one or token in pieces):
      # Of two that are alike in lower case, only one would be found.
      new.setdefault(tokenizer.normalized(token), token)
  files, own_size = _with_tokens(
    tokenizer.files,
    # Whole words only: words that contain them are encoded as before.
    [
      AddedToken(
        token,
        special=special,
        single_word=True,
        lstrip=tokenizer.is_byte_level and not special,
      )
      for token in new.values()
    ],
    "the tokenizer",
  )
  added = HuggingFaceTokenizer(files, max(tokenizer.vocabulary.size, own_size))
  new_ids = range(before, own_size)
  old_ids = tokenizer.encode_words([added.pieces[i] for i in new_ids])
  return added, dict(zip(new_ids, old_ids, strict=True))


def _with_mask(
  files: Mapping[str, bytes], name: str
) -> tuple[dict[str, bytes], int]:
  parsed = tokenizer_files.parse(files, name)
  ids = tokenizer_files.special_ids(files, parsed.get_vocab(), name)
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
  parsed = tokenizer_files.parse(files, name)
  before = set(parsed.get_vocab().values())
  parsed.add_tokens(tokens)
  after = set(parsed.get_vocab().values())
  require(
    after == {*before, *range(max(before) + 1, max(after) + 1)},
    f"{name} has ids without a token, so no token can be added",
  )
  files = {**files, FILE: parsed.to_str(pretty=True).encode()}
  return files, max(after) + 1
