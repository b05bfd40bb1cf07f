"""Parity of tokenizers: whether transformers gives a text the same ids."""

import importlib.util
import pathlib
from collections.abc import Callable, Iterator

from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import InputError, first_line

# Short texts that tokenizers treat in different ways.
_TEXTS = (
  "",
  " ",
  "The quick brown fox jumps over the lazy dog.",
  " a leading space, and one at the end ",
  "two  spaces,\ttabs,\nand line breaks\r\n\r\n at the end\n",
  "CAPITALS, Capitals and iPhones in İstanbul",
  "naïve café, Ångström, ﬁne ½ № ①",
  "e\u0301 a\u0308 n\u0303: accents by themselves",
  "don't can't we'll it's U.S.A. 3.14 1,000,000 #tag @name",
  "日本語 中文 한국어 ไทย العربية עברית हिन्दी",
  "\u200bzero\u200dwidth \u00a0 spaces\u3000",
  "👩\u200d👩\u200d👧 🙂 \u2603",
)


def difference(
  tokenizer: Tokenizer,
  theirs: Callable,
  max_tokens: int,
  num_types: int = 0,
  add_special_tokens: bool = True,
) -> str:
  """Returns how transformers' tokenizer differs from ours, "" if it does not.

  Ids are compared where a text is cut, too, and of pairs, with their types. Not
  compared are texts that spell out tokens that mark the structure of rows: in
  ours they are text like any other, in transformers those tokens.

  Args:
    tokenizer: ours.
    theirs: that of transformers, as `load` returns it.
    max_tokens: where both cut a text.
    num_types: how many token types the model has; pairs need two.
    add_special_tokens: whether start and end are compared, too.
  """
  vocab, max_tokens = tokenizer.vocabulary, min(max_tokens, 1 << 16)
  bodies = tokenizer.encode([*texts()])
  for text, ids in zip(texts(), bodies, strict=True):
    ours = ids[:max_tokens]
    if add_special_tokens:
      ours = [vocab.start_id, *ids[: max_tokens - 2], vocab.end_id]
    found = theirs(
      text,
      truncation=True,
      max_length=max_tokens,
      add_special_tokens=add_special_tokens,
    )["input_ids"]
    if found != ours:
      return _described(text, ours, found, theirs)
  if num_types < 2 or not add_special_tokens:
    return ""
  pair = _TEXTS[2], _TEXTS[7]
  one, other = tokenizer.encode(pair)
  ours = [vocab.start_id, *one, vocab.end_id, *other, vocab.end_id]
  found = theirs(*pair)
  types = [0] * (len(one) + 2) + [1] * (len(other) + 1)
  if found["input_ids"] != ours:
    return _described(pair, ours, found["input_ids"], theirs)
  if found.get("token_type_ids") != types:
    return "it gives the second text of a pair no token_type_ids of 1"
  return ""


def texts() -> Iterator[str]:
  """Yields what is compared: odd texts, and English that every Python ships."""
  from pydoc_data.topics import topics

  yield from _TEXTS
  yield from topics["assert"].splitlines()
  yield topics["import"]


def is_possible() -> bool:
  """Returns whether transformers is installed."""
  return importlib.util.find_spec("transformers") is not None


def load(folder: pathlib.Path):
  """Returns transformers' tokenizer of a folder; no code of it is run.

  Raises:
    InputError: transformers cannot read it.
  """
  import transformers

  transformers.logging.set_verbosity_error()
  try:
    return transformers.AutoTokenizer.from_pretrained(
      str(folder), trust_remote_code=False, local_files_only=True
    )
  except Exception as error:  # A tokenizer's class may raise anything.
    reason = first_line(error)
    raise InputError(
      f"transformers cannot read the tokenizer in {folder}: {reason}"
    ) from error


def _described(text, ours, found, theirs) -> str:
  first = next(
    (i for i, (a, b) in enumerate(zip(ours, found, strict=False)) if a != b),
    min(len(ours), len(found)),
  )
  show = lambda ids: " ".join(
    theirs.convert_ids_to_tokens(ids[max(0, first - 1) : first + 4])
  )
  return f"of {str(text)[:60]!r} it makes {show(found)}, mlm_jax {show(ours)}"
