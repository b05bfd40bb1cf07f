"""`data.sources.NAME.*` and `data.validation.NAME.*`: one corpus of several."""

import dataclasses
import math
import re
from typing import Literal

from mlm_jax.config.key import check_keys, key, keys_of
from mlm_jax.errors import require


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
  """A corpus, and how it is cut into documents."""

  # fmt: off
  corpus: str = key("",
    "Where the text comes from. tfds:NAME[/CONFIG][:SPLIT], or text:, jsonl:, "
    "csv:, tsv:, parquet: or arrow: with globs or folders, separated by "
    "commas. Files may end in .gz or .zst.",
    scope="data")
  text_field: str = key("text",
    "Field that holds the text, in corpora with named fields. It may be a "
    "path such as doc.text, or a template such as '{title} {body}'.",
    scope="data")
  document_boundary: Literal["blank_line", "line", "file", "wikitext"] = key(
    "blank_line",
    "Where documents of a text: corpus end. At a blank line, at each line, at "
    "the end of the file, or before a WikiText heading such as ' = Title = '.",
    scope="data")
  document_separator: str = key("",
    "Line that separates the documents of a text: corpus. Such as "
    "-----, in place of document_boundary; spaces around it and the "
    "line itself are no text.",
    scope="data")
  # fmt: on


@dataclasses.dataclass(frozen=True)
class SourceConfig(CorpusConfig):
  """One of the corpora that a phase reads, with its share of the rows."""

  # fmt: off
  weight: float = key(1.0,
    "Share of the rows, relative to the other sources. data.size_exponent may "
    "scale it by the size of the source; 0 leaves the source out.",
    scope="data", at_least=0, below=math.inf)
  # fmt: on


def check_separator(prefix: str, values: CorpusConfig) -> None:
  """Raises InputError for a document separator that would have no effect.

  Args:
    prefix: of the keys' names, such as "data.".
    values: the keys of a corpus.
  """
  separator, boundary = values.document_separator, values.document_boundary
  require(
    not separator or separator.strip(),
    f"{prefix}document_separator={separator!r} is blank: documents end at "
    f"blank lines by {prefix}document_boundary='blank_line'",
  )
  default = keys_of(CorpusConfig)["document_boundary"].default
  require(
    not separator or boundary == default,
    f"{prefix}document_separator={separator!r} and {prefix}document_boundary="
    f"{boundary!r} exclude each other: leave one of them out",
  )


def check_corpus(table: str, name: str, values: CorpusConfig) -> None:
  """Checks one corpus of several.

  Args:
    table: data.sources or data.validation.
    name: of the corpus.
    values: its keys.

  Raises:
    InputError: NAME cannot be part of a key, there is no text, or a value is
      not valid.
  """
  require(
    re.fullmatch(r"\w+", name, re.ASCII) is not None,
    f"{table}: the name of a corpus has letters, digits and _ only, not "
    f"{name!r}",
  )
  check_keys(values, f"{table}.{name}.")
  check_separator(f"{table}.{name}.", values)
  require(
    values.corpus, f"{table}.{name}.corpus is empty: say where its text is"
  )
