"""Packed rows hold every token once, and little padding."""

import numpy as np
import pytest

from mlm_jax.config import DataConfig
from mlm_jax.data import packing as packing_lib

PACKINGS = ("best_fit", "concat", "single")

# Above every special id. All tokens of the tests are different.
FIRST = 1000


def documents_of(lengths):
  """Returns documents of these lengths whose tokens are all different."""
  ends = FIRST + np.cumsum(lengths)
  return [
    list(range(end - size, end))
    for end, size in zip(ends.tolist(), lengths, strict=True)
  ]


def realistic(count, seed=0, median=90, sigma=1.0):
  """Returns lognormal lengths, as of the documents of web text."""
  rng = np.random.default_rng(seed)
  return np.maximum(1, rng.lognormal(np.log(median), sigma, count)).astype(int)


def pack(documents, packing, seq_len, vocab, cuts=None, **keys):
  data = DataConfig(packing=packing, seq_len=seq_len, **keys)
  return list(packing_lib.pack(documents, data, vocab, cuts))


def pieces_of(row, vocab):
  """Splits a row into pieces; fails unless it is pieces and then padding."""
  pieces, at = [], 0
  while at < len(row) and row[at] != vocab.pad_id:
    assert row[at] == vocab.start_id
    size = int(np.argmax(row[at:] == vocab.end_id))
    assert size > 1, "a piece has tokens, and an end"
    pieces.append(row[at + 1 : at + size])
    at += size + 1
  assert (row[at:] == vocab.pad_id).all()
  return pieces


def num_cut(rows, documents, seq_len, vocab):
  """Counts the documents that would fit in a row, but were cut."""
  whole = {(int(p[0]), len(p)) for row in rows for p in pieces_of(row, vocab)}
  fitting = [ids for ids in documents if len(ids) <= seq_len - 2]
  return sum((ids[0], len(ids)) not in whole for ids in fitting)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("seed", range(4))
def test_every_token_is_in_the_rows_once(vocab, packing, seed):
  rng = np.random.default_rng(seed)
  seq_len = int(rng.integers(8, 100))
  lengths = rng.integers(0, 3 * seq_len, 200)
  documents = documents_of(lengths)
  rows = pack(documents, packing, seq_len, vocab)
  assert all(r.shape == (seq_len,) and r.dtype == np.int32 for r in rows)
  pieces = [piece for row in rows for piece in pieces_of(row, vocab)]
  assert all(pieces_of(row, vocab) for row in rows), "no row is empty"
  tokens = np.sort(np.concatenate(pieces))
  np.testing.assert_array_equal(tokens, FIRST + np.arange(lengths.sum()))
  # A piece is contiguous tokens of one document.
  document = np.repeat(np.arange(len(lengths)), lengths)
  for piece in pieces:
    assert (np.diff(piece) == 1).all()
    assert document[piece[0] - FIRST] == document[piece[-1] - FIRST]


@pytest.mark.parametrize("packing", PACKINGS)
def test_no_documents_pack_into_no_rows(vocab, packing):
  assert pack([], packing, 16, vocab) == []
  assert pack([[], []], packing, 16, vocab) == []


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_document_about_as_long_as_a_row(vocab, packing, extra):
  seq_len = 32
  documents = documents_of([seq_len - 2 + extra])
  rows = pack(documents, packing, seq_len, vocab)
  assert len(rows) == (2 if extra > 0 else 1)
  assert num_cut(rows, documents, seq_len, vocab) == 0


@pytest.mark.parametrize("seq_len", [64, 128, 512])
def test_best_fit_has_little_padding_and_cuts_few_documents(vocab, seq_len):
  documents = documents_of(realistic(6000))
  best = pack(documents, "best_fit", seq_len, vocab)
  fill = np.mean(np.stack(best) != vocab.pad_id)
  assert fill >= 0.995
  concat = pack(documents, "concat", seq_len, vocab)
  cut_by_best = num_cut(best, documents, seq_len, vocab)
  cut_by_concat = num_cut(concat, documents, seq_len, vocab)
  assert cut_by_best < 0.1 * cut_by_concat


def test_best_fit_cuts_no_document_if_whole_ones_fill_the_rows(vocab):
  rng = np.random.default_rng(0)
  lengths = rng.permutation([10] * 300 + [50] * 300 + [30] * 200 + [62] * 50)
  documents = documents_of(lengths)
  rows = pack(documents, "best_fit", 64, vocab)
  assert num_cut(rows, documents, 64, vocab) == 0
  assert (np.stack(rows) != vocab.pad_id).all()


def test_best_fit_streams_with_a_bounded_pool(vocab, monkeypatch):
  monkeypatch.setattr(packing_lib, "_POOL_TOKENS", 8 * 64)
  read = 0

  def documents():
    nonlocal read
    for ids in documents_of([40] * 1000):
      read += 1
      yield ids

  next(packing_lib.pack(documents(), DataConfig(seq_len=64), vocab))
  assert read < 30


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("seq_len", [16, 64, 512])
def test_documents_that_are_cut_are_counted(vocab, packing, seq_len):
  documents = documents_of(realistic(2000))
  cuts = packing_lib.Cuts()
  rows = pack(documents, packing, seq_len, vocab, cuts)
  long = sum(len(ids) > seq_len - 2 for ids in documents)
  assert cuts.num_documents == long + num_cut(rows, documents, seq_len, vocab)
  assert (packing == "concat") <= (cuts.num_documents > long)


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("most", [1, 3])
def test_a_row_has_no_more_documents_than_asked(vocab, packing, most):
  documents = documents_of(realistic(2000, median=10))
  rows = pack(documents, packing, 64, vocab, documents_per_row=most)
  numbers = {len(pieces_of(row, vocab)) for row in rows}
  assert max(numbers) == (1 if packing == "single" else most)
  tokens = np.sort(np.stack(rows)[np.stack(rows) >= FIRST])
  np.testing.assert_array_equal(tokens, np.sort(np.concatenate(documents)))


def test_single_packs_one_piece_a_row(vocab):
  documents = documents_of(realistic(500))
  rows = pack(documents, "single", 64, vocab)
  assert {len(pieces_of(row, vocab)) for row in rows} == {1}
  assert num_cut(rows, documents, 64, vocab) == 0


def test_concat_keeps_the_order_of_tokens(vocab):
  documents = documents_of(realistic(500))
  rows = np.stack(pack(documents, "concat", 64, vocab))
  tokens = rows[rows >= FIRST]
  np.testing.assert_array_equal(tokens, np.concatenate(documents))
  assert (rows[:-1] != vocab.pad_id).mean() > 0.95
