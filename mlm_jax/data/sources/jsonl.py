"""`jsonl:GLOBS`: a JSON object a line with a text field, `data.text_field`."""

import json
from collections.abc import Iterator

from mlm_jax.config import DataConfig
from mlm_jax.data.sources import files
from mlm_jax.data.sources.fields import missing_field
from mlm_jax.errors import InputError


def read(globs: str, data: DataConfig) -> Iterator[str]:
  """Yields the text field of each line; null counts as empty."""
  for path in files.matching(globs):
    with files.open_decompressed(path) as file:
      for number, line in enumerate(file, 1):
        if line.strip():
          yield _text(line, data.text_field, f"{path} line {number}")


read.identity = files.identity


def _text(line: bytes, field: str, where: str) -> str:
  try:
    example = json.loads(line)
  except ValueError as error:
    raise InputError(f"{where} is not JSON: {error}") from error
  if not isinstance(example, dict):
    raise missing_field(field, (), where)
  if field not in example:
    raise missing_field(field, example, where)
  text = example[field] or ""
  if not isinstance(text, str):
    raise InputError(
      f"{where}: data.text_field={field!r} must hold a string, not {text!r}"
    )
  return text
