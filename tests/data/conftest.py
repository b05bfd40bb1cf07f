import re

import numpy as np
import pytest
from etils import epath

from mlm_jax.config import CorruptionConfig, DataConfig
from mlm_jax.data import corruption as corruption_lib
from mlm_jax.data import row_writer, tokenizers
from mlm_jax.data import rows as rows_lib
from mlm_jax.vocabulary import Vocabulary

VOCAB_SIZE = 512


@pytest.fixture(scope="session")
def prose():
  """Paragraphs of the language reference that every Python holds."""
  from pydoc_data import topics

  topics = [topics.topics[name] for name in sorted(topics.topics)[:40]]
  paragraphs = re.split(r"\n\s*\n", "\n\n".join(topics))
  return [text.strip() for text in paragraphs if text.strip()]


@pytest.fixture(scope="session")
def train_tokenizer(prose):
  """Trains a tokenizer of a kind, on prose alone."""

  def train(kind="unigram", vocab_size=VOCAB_SIZE, **options):
    data = DataConfig(tokenizer=kind, vocab_size=vocab_size, **options)
    return tokenizers.train(prose, data)

  return train


@pytest.fixture(scope="session")
def tokenizer(train_tokenizer):
  return train_tokenizer()


@pytest.fixture(scope="session")
def vocab():
  """Ids in an unusual order: nothing may rely on specials being the first."""
  return Vocabulary(
    size=1000,
    pad_id=0,
    unk_id=1,
    start_id=999,
    end_id=500,
    mask_id=7,
    other_special_ids=tuple(range(600, 620)),
    sentinel_ids=tuple(range(619, 599, -1)),
    starts_word=np.arange(1000) % 3 == 0,
    stops=(np.arange(1000) % 7 == 1).astype(np.int8),
  )


@pytest.fixture(scope="session")
def ordinary(vocab):
  return np.setdiff1d(np.arange(vocab.size), vocab.special_ids)


@pytest.fixture(scope="session")
def random_rows(vocab, ordinary):
  """Makes rows of a few pieces of random tokens, padded at the end."""

  def make(count, seq_len, seed=0):
    rng = np.random.default_rng(seed)
    rows = np.full([count, seq_len], vocab.pad_id, np.int32)
    for row in rows:
      at = 0
      while seq_len - at >= 4 and rng.random() < 0.9:
        size = int(rng.integers(1, seq_len - at - 1))
        row[at] = vocab.start_id
        row[at + 1 : at + 1 + size] = rng.choice(ordinary, size)
        row[at + 1 + size] = vocab.end_id
        at += size + 2
    return rows

  return make


@pytest.fixture(scope="session")
def write_store():
  """Writes a finished store of the rows given for each split."""

  def write(path, vocab, seq_len, **splits):
    path, counts = epath.Path(path), {}
    for split in rows_lib.SPLITS:
      writer = row_writer.SplitWriter(path, split, seq_len, vocab)
      for row in splits.get(split, ()):
        writer.append(row)
      counts[split] = writer.finish()
    row_writer.finish_store(path, seq_len, vocab, [(0, counts)])
    return rows_lib.RowStore(path)

  return write


@pytest.fixture(scope="session")
def sigmas_from_uniform():
  """Chi-square of counts that should be equal, in standard deviations.

  `variance` is that of a count, in units of its expectation: 1 for independent
  draws, less where draws exclude each other.
  """

  def sigmas(counts, variance=1.0):
    counts = np.asarray(counts, np.float64)
    freedom = counts.size - 1
    expected = counts.mean()
    chi_square = ((counts - expected) ** 2).sum() / expected / variance
    return (chi_square - freedom) / np.sqrt(2 * freedom)

  return sigmas


@pytest.fixture
def corrupt(vocab):
  def run(rows, first=0, seed=0, progress=0.0, vocab=vocab, **options):
    return corruption_lib.corrupt(
      np.asarray(rows, np.int32),
      first,
      CorruptionConfig(**options),
      vocab,
      seed,
      progress,
    )

  return run


@pytest.fixture
def full_rows(vocab, ordinary):
  """Rows of one piece each, without padding."""

  def make(count, seq_len):
    rows = np.random.default_rng(1).choice(ordinary, [count, seq_len])
    rows[:, 0], rows[:, -1] = vocab.start_id, vocab.end_id
    return rows

  return make


@pytest.fixture
def chosen_of():
  """Returns a function of a batch: bool[B, L], which tokens are targets."""

  def chosen_of(batch):
    chosen = np.zeros(batch["input_ids"].shape, bool)
    row, slot = np.nonzero(batch["target_weights"])
    chosen[row, batch["target_positions"][row, slot]] = True
    return chosen

  return chosen_of
