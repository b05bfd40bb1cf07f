"""Which row stores a work directory uses, and what they were made from.

A store is named by the fingerprint of all that its rows depend on, the content
of the corpus included. rows/fingerprints.json records which one belongs to
which data configuration.
"""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from etils import epath

from mlm_jax.config import Config, DataConfig
from mlm_jax.config.key import keys_of
from mlm_jax.data import rows, sources
from mlm_jax.data.sources import files
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import InputError
from mlm_jax.workdir import Workdir, write_atomically

# Incremented when equal fields come to give other rows.
_FORMAT = 3

# What the name of a validation corpus begins with, among those of all corpora.
VALIDATION = "validation/"


def adopt_rows(config: Config, source: Workdir, workdir: Workdir) -> Config:
  """Lets a work directory use the rows of another one.

  Returns:
    The configuration by which it finds them.
  """
  write_atomically(_records_file(workdir), json.dumps(_records(source)))
  rows_dir = str(rows_root(config.data, source))
  data = dataclasses.replace(config.data, rows_dir=rows_dir)
  return dataclasses.replace(config, data=data)


def corpora(data: DataConfig) -> dict[str, DataConfig]:
  """Returns the configuration of each row store, by a name of it."""
  return data.corpora | {
    VALIDATION + name: corpus
    for name, corpus in data.validation_corpora.items()
  }


def recorded(
  data: DataConfig, tokenizer: Tokenizer, workdir: Workdir
) -> dict[str, epath.Path]:
  """Returns the finished stores recorded for a data configuration, by name.

  A record is found by the name of the corpus, whose content is not looked at.
  """
  records, root = _records(workdir), rows_root(data, workdir)
  found = {}
  for name, corpus in corpora(data).items():
    store = records.get(_record_key(corpus, tokenizer))
    if store and rows.is_finished(root / store):
      found[name] = root / store
  return found


def record(
  data: DataConfig, tokenizer: Tokenizer, workdir: Workdir, path: epath.Path
) -> None:
  """Records the store of a data configuration."""
  records = _records(workdir) | {_record_key(data, tokenizer): path.name}
  text = json.dumps(records, indent=2) + "\n"
  write_atomically(_records_file(workdir), text)


def changes(data: DataConfig, path: epath.Path) -> str:
  """Returns in words what has changed in a corpus since its rows were made."""
  fields = rows.fingerprint_fields(path)
  if fields.get("format") != _FORMAT:
    return ""  # What identified a corpus was another thing.
  # Hashes are compared with hashes of the same kind.
  whole = any(f":{files.WHOLE}" in entry for entry in fields["corpus"])
  data = dataclasses.replace(data, hash_whole=whole)
  try:
    now = identity(data)
  except InputError:
    return ""  # It is gone.
  # The name of a file and its hash.
  before, after = (
    {entry.rpartition(":")[0] or entry: entry for entry in one["corpus"]}
    for one in (fields, now)
  )
  kinds = {
    "added": [name for name in after if name not in before],
    "removed": [name for name in before if name not in after],
    "changed": [n for n in after if before.get(n, after[n]) != after[n]],
  }
  found = [
    f"{kind} {', '.join(names[:3])}" + (" ..." if len(names) > 3 else "")
    for kind, names in kinds.items()
    if names
  ]
  if not found and fields["corpus"] != now["corpus"]:
    found = ["files of equal names"]
  if fields.get("left_out") != now.get("left_out"):
    found.append("data.validation")
  return "; ".join(found)


def fingerprint_fields(
  data: DataConfig, identity: dict[str, Any], tokenizer: Tokenizer
) -> dict[str, Any]:
  """Returns all that the rows of a corpus depend on.

  Args:
    data: their configuration.
    identity: what identifies the corpus, see `identity`.
    tokenizer: what tokenizes it.
  """
  only_some = {"on_bad_text": "skip"} if data.on_bad_text == "skip" else {}
  # What stores of earlier versions have not.
  others = {
    name: value
    for name in ("documents_per_row", "dedup", "document_separator")
    if (value := getattr(data, name)) != keys_of(DataConfig)[name].default
  }
  return {
    "format": _FORMAT,
    **identity,
    **only_some,
    "tokenizer": tokenizer.identity,
    "text_field": data.text_field,
    "document_boundary": data.document_boundary,
    "heldout_fraction": data.heldout_fraction,
    "seq_len": data.seq_len,
    "packing": data.packing,
    **others,
  }


def identity(
  data: DataConfig,
  of_corpus: Callable[[DataConfig], list[str]] = sources.identity,
) -> dict[str, Any]:
  """Returns what identifies a corpus, and what is left out of it."""
  left_out = [
    [of_corpus(corpus), *_boundary_fields(corpus)]
    for corpus in data.validation_corpora.values()
  ]
  identity = {"corpus": of_corpus(data)}
  return identity | ({"left_out": left_out} if left_out else {})


def _boundary_fields(data: DataConfig) -> list[str]:
  separator = [data.document_separator] if data.document_separator else []
  return [data.text_field, data.document_boundary, *separator]


def _record_key(data: DataConfig, tokenizer: Tokenizer) -> str:
  names = identity(data, lambda corpus: [corpus.corpus])
  fields = fingerprint_fields(data, names, tokenizer)
  # A run goes on with the rows that it has, of whatever format.
  return rows.fingerprint(fields | {"format": 1})


def rows_root(data: DataConfig, workdir: Workdir) -> epath.Path:
  """Returns the folder in which the stores are."""
  if data.rows_dir:
    return epath.Path(data.rows_dir).expanduser()
  return workdir.rows


def _records_file(workdir: Workdir) -> epath.Path:
  return workdir.rows / "fingerprints.json"


def _records(workdir: Workdir) -> dict[str, str]:
  """Returns the recorded stores: name of the store by `_record_key`."""
  file = _records_file(workdir)
  return json.loads(file.read_text()) if file.exists() else {}
