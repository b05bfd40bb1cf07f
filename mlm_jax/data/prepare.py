"""The tokenizer and the rows of a work directory, made once and reused.

A row store is named by the fingerprint of all that its rows depend on, the
content of the corpus included. A work directory records in
rows/fingerprints.json which store it uses for which data configuration, so that
a run continues with its rows although the corpus may be gone or changed.
"""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from etils import epath

from mlm_jax.config import Config, DataConfig
from mlm_jax.data import rows, sources, tokenizers
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.data.write_rows import is_heldout, write_store
from mlm_jax.errors import require, unknown
from mlm_jax.phases import Recipe
from mlm_jax.workdir import Workdir, atomic_folder, write_atomically


def prepare(
  config: Config, workdir: Workdir, say: Callable[[str], None] = print
) -> tuple[Tokenizer, rows.RowStore]:
  """Returns the tokenizer and rows of a work directory; makes what is missing.

  A run continues with the rows that it began with: once the work directory has
  a config.json, recorded rows are used without looking at the corpus.

  Args:
    config: the run.
    workdir: where the tokenizer, and by default the rows, are kept.
    say: called with a line of text about what is being done.

  Raises:
    InputError: the corpus, the tokenizer or the work directory cannot be used.
  """
  data = config.data
  if workdir.config.exists():
    tokenizer = saved_tokenizer(data, workdir)
    path = rows_path(data, tokenizer, workdir)
    if path and rows.is_finished(path):
      return tokenizer, open_rows(config, path, say)
  # Looked at before the tokenizer is trained, which may take hours.
  corpus = sources.identity(data)
  workdir.make()
  tokenizer = _make_tokenizer(data, workdir, say)
  path = _make_rows(data, corpus, tokenizer, workdir, say)
  return tokenizer, open_rows(config, path, say)


def prepare_phases(
  recipe: Recipe, workdir: Workdir, say: Callable[[str], None] = print
) -> None:
  """Makes the tokenizer, and the rows of each phase, where they are missing."""
  for phase in recipe.phases:
    prepare(phase.config, workdir, say)
    # The tokenizer belongs to the work directory from here on.
    workdir.save_recipe(recipe)


def load(config: Config, workdir: Workdir) -> tuple[Tokenizer, rows.RowStore]:
  """Returns what `prepare` made; the corpus may be gone by now.

  Raises:
    InputError: rows for this configuration were never prepared.
  """
  data = config.data
  tokenizer = saved_tokenizer(data, workdir)
  path = rows_path(data, tokenizer, workdir)
  require(
    path is not None,
    f"{workdir.root} has no rows of data.seq_len={data.seq_len} from "
    f"data.corpus={data.corpus!r}: prepare or train first",
  )
  return tokenizer, rows.RowStore(path)


def adopt_rows(config: Config, source: Workdir, workdir: Workdir) -> Config:
  """Lets a work directory use the rows of another one.

  Returns:
    The configuration by which it finds them.
  """
  write_atomically(_records_file(workdir), json.dumps(_records(source)))
  rows_dir = str(_rows_root(config.data, source))
  data = dataclasses.replace(config.data, rows_dir=rows_dir)
  return dataclasses.replace(config, data=data)


def saved_tokenizer(data: DataConfig, workdir: Workdir) -> Tokenizer:
  """Reads the tokenizer of a work directory.

  Raises:
    InputError: it has none, or one of another size than `data.vocab_size`.
  """
  return _of_size(tokenizers.load(workdir.tokenizer, data.vocab_size), data)


def fingerprint_fields(
  data: DataConfig, corpus: list[str], tokenizer: Tokenizer
) -> dict[str, Any]:
  """Returns all that rows depend on.

  Args:
    data: the configuration of the rows.
    corpus: what identifies the corpus, see `sources.identity`.
    tokenizer: what tokenizes it.
  """
  return {
    "format": 1,  # Incremented when equal fields come to give other rows.
    "corpus": corpus,
    "tokenizer": tokenizer.identity,
    "text_field": data.text_field,
    "document_boundary": data.document_boundary,
    "heldout_fraction": data.heldout_fraction,
    "seq_len": data.seq_len,
    "packing": data.packing,
  }


def rows_path(
  data: DataConfig, tokenizer: Tokenizer, workdir: Workdir
) -> epath.Path | None:
  """Returns the store recorded for a data configuration, None if there is none.

  A record is found by the name of the corpus, whose content is not looked at.
  The store itself may be unfinished, or gone.
  """
  store = _records(workdir).get(_record_key(data, tokenizer))
  return _rows_root(data, workdir) / store if store else None


def open_rows(
  config: Config, path: epath.Path, say: Callable[[str], None] = print
) -> rows.RowStore:
  """Opens a store and says how many rows it has.

  Raises:
    InputError: they are too few to train on, or none is held out.
  """
  store = rows.RowStore(path)
  train, heldout = (store.info[split] for split in rows.SPLITS)
  require(
    train.num_rows >= config.train.batch_size,
    f"the corpus fills {train.num_rows} rows of "
    f"data.seq_len={config.data.seq_len}, fewer than one batch of "
    f"train.batch_size={config.train.batch_size}",
  )
  require(
    heldout.num_rows > 0 or config.data.heldout_fraction == 0,
    f"none of {train.num_documents} documents was held out: raise "
    f"data.heldout_fraction={config.data.heldout_fraction}, or set it to 0",
  )
  say(
    f"Rows: {train.num_rows:,} to train on ({train.tokens:,} tokens, "
    f"{train.fill:.2%} full), {heldout.num_rows:,} held out"
  )
  return store


def _rows_root(data: DataConfig, workdir: Workdir) -> epath.Path:
  if data.rows_dir:
    return epath.Path(data.rows_dir).expanduser()
  return workdir.rows


def _records_file(workdir: Workdir) -> epath.Path:
  return workdir.rows / "fingerprints.json"


def _records(workdir: Workdir) -> dict[str, str]:
  """Returns the recorded stores: name of the store by `_record_key`."""
  file = _records_file(workdir)
  return json.loads(file.read_text()) if file.exists() else {}


def _record_key(data: DataConfig, tokenizer: Tokenizer) -> str:
  return rows.fingerprint(fingerprint_fields(data, [data.corpus], tokenizer))


def _record(data, tokenizer, workdir: Workdir, path: epath.Path) -> None:
  records = _records(workdir) | {_record_key(data, tokenizer): path.name}
  text = json.dumps(records, indent=2) + "\n"
  write_atomically(_records_file(workdir), text)


def _of_size(tokenizer: Tokenizer, data: DataConfig) -> Tokenizer:
  size = tokenizer.vocabulary.size
  require(
    size == data.vocab_size,
    f"the tokenizer has {size} pieces, not data.vocab_size={data.vocab_size}: "
    f"set --config.data.vocab_size={size}",
  )
  return tokenizer


def _make_tokenizer(data: DataConfig, workdir: Workdir, say) -> Tokenizer:
  """Returns the saved tokenizer, or trains or reads one and saves it."""
  # Without a config.json, a saved one was left by an interrupted command.
  if workdir.config.exists():
    return saved_tokenizer(data, workdir)
  if data.tokenizer in ("unigram", "bpe"):
    say(f"Training a {data.tokenizer} tokenizer of {data.vocab_size:,} pieces")
    documents = (
      text
      for text in sources.read_documents(data)
      if not is_heldout(text, data.heldout_fraction)
    )
    tokenizer = tokenizers.train(documents, data)
  else:
    path = epath.Path(data.tokenizer).expanduser()
    if not path.exists() and len(path.parts) == 1:
      raise unknown("data.tokenizer", data.tokenizer, ("unigram", "bpe"))
    tokenizer = tokenizers.load(path, data.vocab_size)
  tokenizer = _of_size(tokenizer, data)
  if workdir.tokenizer.exists():
    workdir.tokenizer.rmtree()
  with atomic_folder(workdir.tokenizer) as partial:
    tokenizer.save(partial)
  return tokenizer


def _make_rows(
  data: DataConfig, corpus: list[str], tokenizer, workdir: Workdir, say
) -> epath.Path:
  """Returns the path of the row store, after writing it if need be."""
  fields = fingerprint_fields(data, corpus, tokenizer)
  path = _rows_root(data, workdir) / rows.fingerprint(fields)
  if not rows.is_finished(path):
    say(f"Preparing rows of {data.seq_len} tokens from {data.corpus}")
    write_store(data, tokenizer, path, fields)
  _record(data, tokenizer, workdir, path)
  return path
