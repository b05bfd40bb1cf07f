"""The files of a Hugging Face tokenizer, and the special tokens they name."""

import json
from collections.abc import Iterator, Mapping

import tokenizers
from etils import epath
from tokenizers import processors

from mlm_jax.data.tokenizers.base import MASK
from mlm_jax.errors import InputError, require

FILE = "tokenizer.json"

# A million pieces and their merges are a tenth of it.
_MAX_BYTES = 1 << 30

# Files that name the special tokens; the last takes precedence.
NAMING_FILES = ("special_tokens_map.json", "tokenizer_config.json")

# Role of a special token -> (its keys in those files, its usual spellings where
# they have none of the keys).
ROLES = {
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


def read(path: epath.Path) -> dict[str, bytes]:
  """Returns the contents of a tokenizer.json and its NAMING_FILES, by name.

  Raises:
    InputError: it cannot be read, or is larger than any tokenizer.
  """
  require(path.is_file(), f"{path} is not a file")
  size = epath.Path(path).stat().length
  require(
    size <= _MAX_BYTES,
    f"{path} has {size:,} bytes: no tokenizer is that large",
  )
  return {FILE: path.read_bytes(), **naming_files(path)}


def naming_files(path: epath.Path) -> dict[str, bytes]:
  """Returns the contents of the NAMING_FILES beside a file, by name."""
  return {
    name: (path.parent / name).read_bytes()
    for name in NAMING_FILES
    if (path.parent / name).exists()
  }


def template(
  start: tuple[str, int], end: tuple[str, int]
) -> processors.TemplateProcessing:
  """Returns what puts start and end around a text, or a pair of texts.

  Args:
    start: token and id.
    end: the same.
  """
  return processors.TemplateProcessing(
    single=f"{start[0]} $A {end[0]}",
    pair=f"{start[0]} $A {end[0]} $B:1 {end[0]}:1",
    special_tokens=[start, end],
  )


def parse(files: Mapping[str, bytes], name: str) -> tokenizers.Tokenizer:
  """Returns the tokenizers library's tokenizer of a tokenizer.json.

  Raises:
    InputError: the file is no tokenizer.json, or has no tokens.
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
  """Returns the ids of "start", "end", "pad", "unk" and "mask", None if absent.

  They are found by the names in the files beside a tokenizer.json, or else by
  their usual spellings.

  Args:
    files: the contents of `NAMING_FILES`, by file name, as far as they exist.
    vocab: the id of each token.
    name: how error messages refer to the tokenizer.

  Raises:
    InputError: a file is no JSON object.
  """
  named = named_tokens(files, name)
  ids = {}
  for role, (keys, usual) in ROLES.items():
    tokens = [named[key] for key in keys if key in named] or usual
    ids[role] = next((vocab[t] for t in tokens if t in vocab), None)
  return ids


def named_tokens(files: Mapping[str, bytes], name: str) -> dict[str, str]:
  """Returns the special tokens by their keys, such as {"cls_token": "<s>"}.

  Args:
    files: as for `special_ids`.
    name: how error messages refer to the tokenizer.

  Raises:
    InputError: a file is no JSON object.
  """
  named = {}
  for file in NAMING_FILES:
    try:
      items = json.loads(files.get(file, b"{}")).items()
    except (ValueError, AttributeError) as error:
      raise InputError(f"the {file} of {name} is not a JSON object") from error
    for key, value in items:
      token = value.get("content") if isinstance(value, dict) else value
      if key.endswith("_token") and isinstance(token, str):
        named[key] = token
  return named


def flat(part: dict | None) -> Iterator[dict]:
  """Yields the parts of a normalizer or pre-tokenizer that may be a sequence.

  Args:
    part: as a tokenizer.json describes it.
  """
  if part is None:
    return
  if part["type"] == "Sequence":
    for inner in part.get("normalizers") or part.get("pretokenizers") or ():
      yield from flat(inner)
  else:
    yield part
