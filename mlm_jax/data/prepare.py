"""The tokenizer and the rows of a work directory, made once and reused.

Each corpus has a row store, named by the fingerprint of all that its rows
depend on, the content of the corpus included. A work directory records in
rows/fingerprints.json which store it uses for which data configuration, so that
a run continues with its rows although the corpus may be gone or changed.
"""

import dataclasses
import heapq
import json
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from mlm_jax.config import Config, CorpusConfig, DataConfig
from mlm_jax.data import rows, sources, tokenizers
from mlm_jax.data.stream import Stream
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.data.write_rows import Splitter, write_store
from mlm_jax.errors import require, unknown
from mlm_jax.phases import Recipe
from mlm_jax.workdir import Workdir, atomic_folder, write_atomically

# What the name of a validation corpus begins with, among those of all corpora.
_VALIDATION = "validation/"


def prepare(
  config: Config, workdir: Workdir, say: Callable[[str], None] = print
) -> tuple[Tokenizer, rows.Stores]:
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
  tokenizer, paths = None, {}
  if workdir.config.exists():
    tokenizer = saved_tokenizer(config.data, workdir)
    paths = _recorded(config.data, tokenizer, workdir)
  corpora = _corpora(config.data)
  # Looked at before the tokenizer is trained, which may take hours.
  identities = {
    name: _identity(data) for name, data in corpora.items() if name not in paths
  }
  workdir.make()
  tokenizer = tokenizer or _make_tokenizer(config.data, workdir, say)
  for name, identity in identities.items():
    data = corpora[name]
    paths[name] = _make_rows(name, data, identity, tokenizer, workdir, say)
  stores = _open({name: paths[name] for name in corpora})
  _check(config, stores)
  _describe(config, stores, say)
  return tokenizer, stores


def prepare_phases(
  recipe: Recipe, workdir: Workdir, say: Callable[[str], None] = print
) -> None:
  """Makes the tokenizer, and the rows of each phase, where they are missing."""
  for phase in recipe.phases:
    prepare(phase.config, workdir, say)
    # The tokenizer belongs to the work directory from here on.
    workdir.save_recipe(recipe)


def load(config: Config, workdir: Workdir) -> tuple[Tokenizer, rows.Stores]:
  """Returns what `prepare` made; the corpus may be gone by now.

  Raises:
    InputError: rows for this configuration were never prepared.
  """
  tokenizer = saved_tokenizer(config.data, workdir)
  paths = _recorded(config.data, tokenizer, workdir)
  for name, data in _corpora(config.data).items():
    require(
      name in paths,
      f"{workdir.root} has no rows of data.seq_len={data.seq_len} from "
      f"{data.corpus!r}: prepare or train first",
    )
  return tokenizer, _open(paths)


def evaluated(
  config: Config,
  corpus: str,
  workdir: Workdir,
  say: Callable[[str], None] = print,
) -> rows.Stores:
  """Returns the rows of a corpus to evaluate on; makes them where missing.

  Args:
    config: the run.
    corpus: as `data.corpus` has it.
    workdir: of the run.
    say: as for `prepare`.

  Raises:
    InputError: the corpus cannot be read, or has no text.
  """
  values = CorpusConfig(
    corpus, config.data.text_field, config.data.document_boundary
  )
  data = config.data.evaluating(values)
  tokenizer = saved_tokenizer(data, workdir)
  path = _make_rows("", data, _identity(data), tokenizer, workdir, say)
  return rows.Stores({}, {corpus: rows.RowStore(path)})


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


def recorded(config: Config, workdir: Workdir) -> rows.Stores | None:
  """Returns the rows that were prepared, None where some are missing."""
  if not workdir.tokenizer.exists():
    return None
  tokenizer = saved_tokenizer(config.data, workdir)
  paths = _recorded(config.data, tokenizer, workdir)
  return None if _corpora(config.data).keys() - paths else _open(paths)


def _corpora(data: DataConfig) -> dict[str, DataConfig]:
  """Returns the configuration of each row store, by a name of it."""
  return data.corpora | {
    _VALIDATION + name: corpus
    for name, corpus in data.validation_corpora.items()
  }


def _open(paths: dict[str, epath.Path]) -> rows.Stores:
  stores = {name: rows.RowStore(path) for name, path in paths.items()}
  validation = [name for name in stores if name.startswith(_VALIDATION)]
  return rows.Stores(
    {name: store for name, store in stores.items() if name not in validation},
    {name.removeprefix(_VALIDATION): stores[name] for name in validation},
  )


def _recorded(
  data: DataConfig, tokenizer: Tokenizer, workdir: Workdir
) -> dict[str, epath.Path]:
  """Returns the finished stores recorded for a data configuration, by name.

  A record is found by the name of the corpus, whose content is not looked at.
  """
  records, root = _records(workdir), _rows_root(data, workdir)
  found = {}
  for name, corpus in _corpora(data).items():
    store = records.get(_record_key(corpus, tokenizer))
    if store and rows.is_finished(root / store):
      found[name] = root / store
  return found


def _fingerprint_fields(
  data: DataConfig, identity: dict[str, Any], tokenizer: Tokenizer
) -> dict[str, Any]:
  """Returns all that the rows of a corpus depend on.

  Args:
    data: their configuration.
    identity: what identifies the corpus, see `_identity`.
    tokenizer: what tokenizes it.
  """
  return {
    "format": 1,  # Incremented when equal fields come to give other rows.
    **identity,
    "tokenizer": tokenizer.identity,
    "text_field": data.text_field,
    "document_boundary": data.document_boundary,
    "heldout_fraction": data.heldout_fraction,
    "seq_len": data.seq_len,
    "packing": data.packing,
  }


def _identity(
  data: DataConfig,
  of_corpus: Callable[[DataConfig], list[str]] = sources.identity,
) -> dict[str, Any]:
  """Returns what identifies a corpus, and what is left out of it."""
  left_out = [
    [of_corpus(corpus), corpus.text_field, corpus.document_boundary]
    for corpus in data.validation_corpora.values()
  ]
  identity = {"corpus": of_corpus(data)}
  return identity | ({"left_out": left_out} if left_out else {})


def _check(config: Config, stores: rows.Stores) -> None:
  """Raises InputError where rows are too few to train or to evaluate on."""
  data, batch_size = config.data, config.train.batch_size
  for name, share in Stream(config, stores.sources).shares.items():
    train = stores.sources[name].info["train"]
    wanted = max(1, int(share * batch_size))
    whose = f"data.sources.{name}" if name else "the corpus"
    part = f"{share:.1%} of " if name else ""
    require(
      train.num_rows >= wanted,
      f"{whose} fills {train.num_rows} rows of data.seq_len={data.seq_len}, "
      f"fewer than {part}one batch of train.batch_size={batch_size}",
    )
  documents = sum(
    store.info["train"].num_documents for store in stores.sources.values()
  )
  is_any_heldout = any(
    store.info["heldout"].num_rows for store in stores.sources.values()
  )
  require(
    is_any_heldout or data.heldout_fraction == 0,
    f"none of {documents} documents was held out: raise "
    f"data.heldout_fraction={data.heldout_fraction}, or set it to 0",
  )


def _describe(config: Config, stores: rows.Stores, say) -> None:
  """Says how many rows there are, and what was left out."""
  stream = Stream(config, stores.sources)
  epochs = stream.epochs(config.timeline.num_rows)
  for name, store in stores.sources.items():
    train, heldout = (store.info[split] for split in rows.SPLITS)
    of = f" of {name}" if name else ""
    line = (
      f"Rows{of}: {train.num_rows:,} to train on ({train.tokens:,} tokens, "
      f"{train.fill:.2%} full), {heldout.num_rows:,} held out"
    )
    if name:
      line += f"; {stream.shares[name]:.1%} of all rows"
      if not config.train.hours:
        line += f", {epochs[name]:.3g} epochs"
    say(line)
    if train.num_left_out:
      say(
        f"Left out{of}: {train.num_left_out:,} documents that are in "
        "data.validation, too"
      )
  for name, store in stores.validation.items():
    info = store.info["train"]
    say(
      f"Rows of validation {name}: {info.num_rows:,} ({info.tokens:,} tokens)"
    )


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
  names = _identity(data, lambda corpus: [corpus.corpus])
  return rows.fingerprint(_fingerprint_fields(data, names, tokenizer))


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
    tokenizer = tokenizers.train(_training_documents(data), data)
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


def _training_documents(data: DataConfig) -> Iterator[str]:
  """Yields what is trained on, of each source as many characters as its share.

  A source that ends before the others leaves its share to them.
  """
  splitter = Splitter(data)
  turns = []
  for number, (name, corpus) in enumerate(data.corpora.items()):
    weight = data.sources[name].weight if name else 1.0
    documents = sources.read_documents(corpus)
    turns.append((0.0, number, weight, documents))
  while turns:
    read, number, weight, documents = heapq.heappop(turns)
    for text in documents:
      if splitter.split(text) == "train":
        yield text
        read += len(text) / weight
        heapq.heappush(turns, (read, number, weight, documents))
        break


def _make_rows(
  name: str,
  data: DataConfig,
  identity: dict[str, Any],
  tokenizer: Tokenizer,
  workdir: Workdir,
  say,
) -> epath.Path:
  """Returns the path of a row store, after writing it if need be."""
  fields = _fingerprint_fields(data, identity, tokenizer)
  path = _rows_root(data, workdir) / rows.fingerprint(fields)
  if not rows.is_finished(path):
    of = f" of {name}" if name else ""
    say(f"Preparing rows{of} of {data.seq_len} tokens from {data.corpus}")
    write_store(data, tokenizer, path, fields)
  _record(data, tokenizer, workdir, path)
  return path
