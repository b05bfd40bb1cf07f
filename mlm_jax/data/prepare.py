"""Corpus to row store: tokenise, split off the held-out documents, pack, write.

Streams: memory holds a packing pool and a few shards, whatever the corpus.
"""

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator

from etils import epath

from mlm_jax.config import Config, DataConfig
from mlm_jax.data import packing, rows, sources, tokenizers
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import require, unknown
from mlm_jax.progress import Progress
from mlm_jax.workdir import Workdir, write_atomically

# What the tokenising threads share at a time.
_BATCH_CHARS = 1 << 20
_MILLION = 1_000_000


def prepare(
  config: Config, workdir: Workdir, say: Callable[[str], None] = print
) -> tuple[Tokenizer, rows.RowStore]:
  """Returns the tokenizer and the rows of a work directory, making what lacks.

  Args:
    config: the run.
    workdir: where the tokenizer, and by default the rows, are kept.
    say: is told what is being done, a line at a time.

  Raises:
    InputError: the corpus, the tokenizer or the work directory cannot be used.
  """
  data = config.data
  if workdir.config.exists() and workdir.load_config().data == data:
    # A run goes on with the rows that it began with.
    path = _recorded_rows(data, workdir)
    if path and rows.is_finished(path):
      return _kept(data, workdir), _checked(config, path, say)
  # First, for a corpus that is not there should not wait for a tokenizer.
  identity = sources.identity(data)
  workdir.make()
  tokenizer = _tokenizer(data, workdir, say)
  made_of = {
    "format": 1,  # Counts up when equal ingredients give other rows.
    "corpus": identity,
    "tokenizer": tokenizer.identity,
    **{
      key: getattr(data, key)
      for key in (
        *("text_field", "document_boundary", "heldout_fraction"),
        *("seq_len", "packing"),
      )
    },
  }
  path = _rows_root(data, workdir) / rows.fingerprint(**made_of)
  if not rows.is_finished(path):
    say(f"Preparing rows of {data.seq_len} tokens from {data.corpus}")
    _write_rows(data, tokenizer, path, made_of)
  workdir.rows.mkdir(parents=True, exist_ok=True)
  write_atomically(workdir.rows / "fingerprint", path.name + "\n")
  return tokenizer, _checked(config, path, say)


def load(config: Config, workdir: Workdir) -> tuple[Tokenizer, rows.RowStore]:
  """Returns what `prepare` left; the corpus need not be there any more.

  Raises:
    InputError: it was never prepared.
  """
  path = _recorded_rows(config.data, workdir)
  require(
    path is not None, f"{workdir.root} has no rows: prepare or train first"
  )
  return _kept(config.data, workdir), rows.RowStore(path)


def _rows_root(data: DataConfig, workdir: Workdir) -> epath.Path:
  if data.rows_dir:
    return epath.Path(data.rows_dir).expanduser()
  return workdir.rows


def _recorded_rows(data: DataConfig, workdir: Workdir) -> epath.Path | None:
  record = workdir.rows / "fingerprint"
  if not record.exists():
    return None
  return _rows_root(data, workdir) / record.read_text().strip()


def _checked(config, path, say) -> rows.RowStore:
  store = rows.RowStore(path)
  train, heldout = (store.info[split] for split in rows.SPLITS)
  require(
    train.num_rows >= config.train.batch_size,
    f"the corpus fills {train.num_rows} rows of "
    f"data.seq_len={config.data.seq_len}, not one batch of "
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


def is_heldout(document: str, fraction: float) -> bool:
  """Decides by the text alone, so that copies of it fall on the same side."""
  digest = hashlib.blake2b(document.encode(), digest_size=8).digest()
  return int.from_bytes(digest, "little") < fraction * 2**64


def _tokenizer(data, workdir, say):
  # Without a configuration beside it, an interrupted command left it.
  if workdir.tokenizer.exists() and workdir.config.exists():
    tokenizer = _kept(data, workdir)
  elif data.tokenizer in ("unigram", "bpe"):
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
  size = tokenizer.vocabulary.size
  require(
    size == data.vocab_size,
    f"the tokenizer has {size} pieces, data.vocab_size={data.vocab_size}",
  )
  if not workdir.config.exists():
    partial = workdir.root / "tokenizer.partial"
    for folder in (partial, workdir.tokenizer):
      if folder.exists():
        folder.rmtree()
    tokenizer.save(partial)
    partial.rename(workdir.tokenizer)
  return tokenizer


def _kept(data: DataConfig, workdir: Workdir) -> Tokenizer:
  return tokenizers.load(workdir.tokenizer, data.vocab_size)


def _write_rows(data: DataConfig, tokenizer: Tokenizer, path, made_of):
  # Two runs may share a folder and prepare the same rows at once.
  partial = path.parent / f"{path.name}.partial-{uuid.uuid4().hex[:8]}"
  partial.mkdir(parents=True)
  try:
    # One pass a split: reading is cheap beside tokenising, and each pass
    # tokenises only its own documents. The first, of few, learns how much there is.
    heldout, millions = _write_split("heldout", data, tokenizer, partial)
    train, _ = _write_split("train", data, tokenizer, partial, millions)
    infos = {"train": train, "heldout": heldout}
    rows.finish_store(partial, data.seq_len, infos, made_of=made_of)
    if not rows.is_finished(path):
      if path.exists():
        path.rmtree()
      partial.rename(path)
  finally:
    if partial.exists():
      partial.rmtree()


def _write_split(
  split, data, tokenizer, path, total=None
) -> tuple[rows.SplitInfo, int]:
  """Returns what was written, and how many million characters were read."""
  writer = rows.SplitWriter(path / split, data.seq_len, tokenizer.vocabulary)
  characters = 0

  def documents():
    nonlocal characters
    shown = 0
    for text in sources.read_documents(data):
      characters += len(text)
      if is_heldout(text, data.heldout_fraction) == (split == "heldout"):
        yield text
      now = characters // _MILLION
      if total and now > shown:
        progress.advance(now)
        if 10 * now // total > 10 * shown // total:
          progress.show(now)  # A line in a log.
        shown = now

  with Progress(total or None, unit="million characters") as progress:
    encoded = _encode(documents(), tokenizer, writer)
    for row in packing.pack(
      encoded, data.packing, data.seq_len, tokenizer.vocabulary
    ):
      writer.append(row)
  return writer.finish(), characters // _MILLION


def _encode(documents: Iterable[str], tokenizer, writer) -> Iterator[list[int]]:
  for batch in _batches(documents):
    writer.num_documents += len(batch)
    yield from tokenizer.encode(batch)


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
  batch, size = [], 0
  for text in documents:
    batch.append(text)
    size += len(text)
    if size >= _BATCH_CHARS:
      yield batch
      batch, size = [], 0
  yield batch
