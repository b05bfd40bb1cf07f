"""The tokenizer and the rows of a work directory, made once and reused.

Each corpus has a row store, which records.py finds again, so that a run
continues with its rows although the corpus may be gone or changed.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from etils import epath

from mlm_jax.config import Config, CorpusConfig, DataConfig
from mlm_jax.config.data import TRAINED_TOKENIZERS
from mlm_jax.config.key import keys_of
from mlm_jax.data import records, rows, sources, tokenizers
from mlm_jax.data.blocks import Splitter
from mlm_jax.data.stream import Stream
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.data.write_rows import sampled, write_store
from mlm_jax.errors import require, unknown
from mlm_jax.phases import Recipe
from mlm_jax.workdir import Workdir, alone, atomic_folder

# The share of unknown tokens that is said.
_SAID_UNKNOWN = 0.01


def prepare(
  config: Config,
  workdir: Workdir,
  say: Callable[[str], None] = print,
  beam_options: Sequence[str] = (),
) -> tuple[Tokenizer, rows.Stores]:
  """Returns the tokenizer and rows of a work directory; makes what is missing.

  A run continues with the rows that it began with, although the corpus may be
  gone; if it is there and has changed, that is said. Without a checkpoint, the
  rows of a corpus that has changed are made anew.

  Args:
    config: the run.
    workdir: where the tokenizer, and by default the rows, are kept.
    say: called with a line of text about what is being done.
    beam_options: of Apache Beam, which writes the rows if there are any.

  Raises:
    InputError: the corpus, the tokenizer or the work directory cannot be used.
  """
  tokenizer, paths = None, {}
  if workdir.config.exists():
    tokenizer = saved_tokenizer(config.data, workdir)
    paths = records.recorded(config.data, tokenizer, workdir)
  corpora, begun = records.corpora(config.data), workdir.last_step > 0
  for name, path in list(paths.items()):
    corpus = corpora[name].corpus
    if begun and "://" in corpus:
      continue  # It may have thousands of files, far away.
    if changes := records.changes(corpora[name], path):
      then = "this run goes on with those" if begun else "they are made anew"
      say(f"{corpus} has changed since its rows were made ({changes}): {then}")
      if not begun:
        del paths[name]
  # Looked at before the tokenizer is trained, which may take hours.
  identities = {
    name: records.identity(data)
    for name, data in corpora.items()
    if name not in paths
  }
  workdir.make()
  tokenizer = tokenizer or _make_tokenizer(config.data, workdir, say)
  for name, identity in identities.items():
    data = corpora[name]
    paths[name] = _make_rows(
      name, data, identity, tokenizer, workdir, say, beam_options
    )
  stores = _open({name: paths[name] for name in corpora})
  stream = Stream(config, stores.sources)
  _check(config, stores, stream)
  _describe(config, stores, stream, say)
  return tokenizer, stores


def prepare_phases(
  recipe: Recipe,
  workdir: Workdir,
  say: Callable[[str], None] = print,
  beam_options: Sequence[str] = (),
) -> None:
  """Makes the tokenizer, and the rows of each phase, where they are missing.

  Where another process does so, its end is waited for.
  """
  line = f"Another process prepares {workdir.root}: waiting for it"
  with alone(workdir.root / "prepare", line, say):
    for phase in recipe.phases:
      prepare(phase.config, workdir, say, beam_options)
      # The tokenizer belongs to the work directory from here on.
      workdir.save_recipe(recipe)


def load(config: Config, workdir: Workdir) -> tuple[Tokenizer, rows.Stores]:
  """Returns what `prepare` made; the corpus may be gone by now.

  Raises:
    InputError: rows for this configuration were never prepared.
  """
  tokenizer = saved_tokenizer(config.data, workdir)
  paths = records.recorded(config.data, tokenizer, workdir)
  for name, data in records.corpora(config.data).items():
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
  own = {name: getattr(config.data, name) for name in keys_of(CorpusConfig)}
  values = CorpusConfig(**own | {"corpus": corpus})
  data = config.data.evaluating(values)
  tokenizer = saved_tokenizer(data, workdir)
  path = _make_rows("", data, records.identity(data), tokenizer, workdir, say)
  return rows.Stores({}, {corpus: rows.RowStore(path)})


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
  paths = records.recorded(config.data, tokenizer, workdir)
  return None if records.corpora(config.data).keys() - paths else _open(paths)


def _open(paths: dict[str, epath.Path]) -> rows.Stores:
  stores = {name: rows.RowStore(path) for name, path in paths.items()}
  validation = [name for name in stores if name.startswith(records.VALIDATION)]
  return rows.Stores(
    {name: store for name, store in stores.items() if name not in validation},
    {
      name.removeprefix(records.VALIDATION): stores[name] for name in validation
    },
  )


def _check(config: Config, stores: rows.Stores, stream: Stream) -> None:
  """Raises InputError where rows are too few to train or to evaluate on."""
  data, batch_size = config.data, config.train.batch_size
  for name, share in stream.shares.items():
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
    f"data.heldout_fraction={data.heldout_fraction}, or set it to 0; where "
    "documents of a text: corpus end, data.document_boundary says",
  )


def _describe(config: Config, stores: rows.Stores, stream: Stream, say) -> None:
  """Says how many rows there are, and what was left out."""
  epochs = stream.epochs(config.timeline.num_rows)
  for name, store in stores.sources.items():
    train, heldout = (store.info[split] for split in rows.SPLITS)
    of = f" of {name}" if name else ""
    line = (
      f"Rows{of}: {train.num_rows:,} to train on ({train.tokens:,} tokens, "
      f"{train.fill:.2%} full, {train.cut_share:.1%} of the documents cut), "
      f"{heldout.num_rows:,} held out"
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
    if train.num_duplicates:
      share = train.num_duplicates / (
        train.num_duplicates + train.num_documents + heldout.num_documents
      )
      say(
        f"Left out{of}: {train.num_duplicates:,} duplicates, {share:.1%} of "
        "the documents"
      )
    _describe_report(train, of, config.data.on_bad_text, say)
  for name, store in stores.validation.items():
    info = store.info["train"]
    of = f" of validation {name}"
    say(f"Rows{of}: {info.num_rows:,} ({info.tokens:,} tokens)")
    _describe_report(info, of, config.data.on_bad_text, say)


def _describe_report(info: rows.SplitInfo, of: str, on_bad_text: str, say):
  """Says which invalid or unknown text was found in a corpus."""
  if info.unknown_share > _SAID_UNKNOWN:
    say(
      f"Unknown tokens{of}: {info.unknown_share:.1%}, which are not predicted"
    )
  if info.nulls:
    say(f"Left out{of}: {info.nulls:,} examples without a text")
  if info.bad:
    done = "left out" if on_bad_text == "skip" else "replaced by U+FFFD"
    say(f"Bad text{of}: {info.bad:,} documents ({done}): {info.first_bad}, ...")


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
  if data.trains_tokenizer:
    case = ", in lower case (data.lowercase)" if data.lowercase else ""
    say(
      f"Training a {data.tokenizer} tokenizer of {data.vocab_size:,} pieces"
      f"{case}"
    )
    tokenizer = tokenizers.train(_training_documents(data, say), data)
  else:
    path = epath.Path(data.tokenizer).expanduser()
    if not path.exists() and len(path.parts) == 1:
      raise unknown("data.tokenizer", data.tokenizer, TRAINED_TOKENIZERS)
    tokenizer = tokenizers.load(path, data.vocab_size)
  tokenizer = _of_size(tokenizer, data)
  if workdir.tokenizer.exists():
    workdir.tokenizer.rmtree()
  with atomic_folder(workdir.tokenizer) as partial:
    tokenizer.save(partial)
  return tokenizer


def _training_documents(data: DataConfig, say) -> Iterator[str]:
  """Yields a sample of what is trained on, of `data.tokenizer_sample_mb`.

  It is drawn from all of the text; each source has its weight's share of it, or
  less where it is smaller.
  """
  splitter, weights = Splitter(data), _sample_weights(data)
  for name, corpus in data.corpora.items():
    share = weights[name] / sum(weights.values())
    budget = int((data.tokenizer_sample_mb << 20) * share)
    documents = (
      text
      for text in sources.read_documents(corpus)
      if splitter.split(text) == "train"
    )
    sample, total = sampled(documents, budget)
    size = sum(map(len, sample))
    if size < total:
      of = f" of {name}" if name else ""
      say(
        f"The tokenizer is trained on {size / total:.1%} of the characters{of}:"
        " data.tokenizer_sample_mb"
      )
    yield from sample


def _sample_weights(data: DataConfig) -> dict[str, float]:
  """Returns the weights of the sources, before their tokens can be counted.

  Sizes are those of the files. Where a source has no files, all count alike.
  """
  sizes = {
    name: sum(group.size for group in sources.groups(corpus))
    for name, corpus in data.corpora.items()
  }
  if not all(sizes.values()):
    sizes = dict.fromkeys(sizes, 1)
  return data.source_weights(sizes)


def _make_rows(
  name: str,
  data: DataConfig,
  identity: dict[str, Any],
  tokenizer: Tokenizer,
  workdir: Workdir,
  say,
  beam_options: Sequence[str] = (),
) -> epath.Path:
  """Returns the path of a row store, after writing it if need be."""
  fields = records.fingerprint_fields(data, identity, tokenizer)
  path = records.rows_root(data, workdir) / rows.fingerprint(fields)
  if not rows.is_finished(path):
    of = f" of {name}" if name else ""
    say(f"Preparing rows{of} of {data.seq_len} tokens from {data.corpus}")
    write_store(data, tokenizer, path, fields, say, beam_options)
  records.record(data, tokenizer, workdir, path)
  return path
