"""A row store returns the rows that were written, or raises an error."""

import collections
import json
import math
import pathlib

import numpy as np
import pytest
import tensorstore as ts
from etils import epath

from mlm_jax.data import row_writer
from mlm_jax.data import rows as rows_lib
from mlm_jax.errors import InputError
from mlm_jax.vocabulary import Vocabulary

SEQ_LEN = 16


@pytest.fixture
def small_shards(monkeypatch):
  """Makes several chunks a shard, and several shards of a hundred rows."""
  monkeypatch.setattr(row_writer, "_CHUNK_TOKENS", 4 * SEQ_LEN)
  monkeypatch.setattr(row_writer, "_SHARD_TOKENS", 24 * SEQ_LEN)


def shard_files(path, split):
  files = [f for f in pathlib.Path(path / split).rglob("*") if f.is_file()]
  return sorted(f for f in files if f.name != "zarr.json")


@pytest.mark.parametrize("count", [1, 23, 24, 25, 100])
def test_random_access_returns_the_rows_written(
  tmp_path, small_shards, write_store, random_rows, vocab, count
):
  train, heldout = random_rows(count, SEQ_LEN), random_rows(7, SEQ_LEN, seed=1)
  store = write_store(
    tmp_path / "s", vocab, SEQ_LEN, train=train, heldout=heldout
  )
  assert len(shard_files(tmp_path / "s", "train")) == -(-count // 24)
  assert store.seq_len == SEQ_LEN
  np.testing.assert_array_equal(store.read("train", np.arange(count)), train)
  indices = np.random.default_rng(0).integers(0, count, 50)
  np.testing.assert_array_equal(store.read("train", indices), train[indices])
  np.testing.assert_array_equal(store.read("heldout", np.arange(7)), heldout)


def test_blocks_follow_each_other(tmp_path, random_rows, vocab, small_shards):
  """Of any sizes, none included, and of any numbers."""
  sizes = {0: 30, 1: 0, 5: 1, 1 << 20: 25, (1 << 20) + 1: 0}
  rows = random_rows(56, SEQ_LEN)
  path, blocks, at = epath.Path(tmp_path / "s"), {}, 0
  for number, size in sizes.items():
    blocks[number] = {}
    for split in rows_lib.SPLITS:
      writer = row_writer.SplitWriter(path, split, SEQ_LEN, vocab, number)
      for row in rows[at : at + size]:
        writer.append(row)
      blocks[number][split] = writer.finish()
    at += size
  row_writer.finish_store(path, SEQ_LEN, vocab, blocks.items())
  store = rows_lib.RowStore(path)
  assert store.info["train"].num_rows == 56
  indices = np.random.default_rng(0).permutation(56)
  np.testing.assert_array_equal(store.read("train", indices), rows[indices])


def test_stores_from_before_there_were_blocks_are_read(
  tmp_path, write_store, random_rows, vocab
):
  path, rows = epath.Path(tmp_path / "s"), random_rows(9, SEQ_LEN)
  write_store(path, vocab, SEQ_LEN, train=rows)
  meta = json.loads((path / "rows.json").read_text())
  del meta["blocks"], meta["splits"]["train"]["num_cut"]
  (path / "rows.json").write_text(json.dumps(meta))
  (path / "train").rmtree()
  array = ts.open(
    {"driver": "zarr3", "kvstore": f"file://{path}/train/"},
    create=True,
    dtype=np.uint16,
    shape=rows.shape,
  ).result()
  array.write(rows.astype(np.uint16)).result()
  found = rows_lib.RowStore(path).read("train", np.arange(9)[::-1])
  np.testing.assert_array_equal(found, rows[::-1])


def test_row_index_out_of_range_raises_an_error(
  tmp_path, write_store, random_rows, vocab
):
  train = random_rows(5, SEQ_LEN)
  store = write_store(tmp_path / "s", vocab, SEQ_LEN, train=train)
  for index in (5, -1):
    with pytest.raises((ValueError, IndexError)):
      store.read("train", np.array([index]))


@pytest.mark.parametrize(
  ("size", "dtype"),
  [(300, np.uint16), (1 << 16, np.uint16), ((1 << 16) + 1, np.uint32)],
)
def test_dtype_of_ids_depends_on_the_vocabulary_size(
  tmp_path, write_store, size, dtype
):
  big = Vocabulary(size, pad_id=0, unk_id=1, start_id=2, end_id=3, mask_id=4)
  train = np.array([[2, size - 1, 5, 3]])
  store = write_store(tmp_path / "s", big, 4, train=train)
  found = store.read("train", np.array([0]))
  assert found.dtype == dtype
  np.testing.assert_array_equal(found, train)


def test_store_without_rows_json_is_never_read(
  tmp_path, write_store, random_rows, vocab
):
  write_store(tmp_path / "s", vocab, SEQ_LEN, train=random_rows(5, SEQ_LEN))
  path = epath.Path(tmp_path / "s")
  assert rows_lib.is_finished(path)
  (path / "rows.json").unlink()
  assert not rows_lib.is_finished(path)
  with pytest.raises(InputError, match="no prepared rows"):
    rows_lib.RowStore(path)


def test_checksum_detects_a_flipped_bit_anywhere(
  tmp_path, small_shards, write_store, random_rows, vocab
):
  path = epath.Path(tmp_path / "s")
  train = random_rows(24, SEQ_LEN)
  write_store(path, vocab, SEQ_LEN, train=train)
  (shard,) = shard_files(path, "train")
  good = shard.read_bytes()
  for at in range(0, len(good), 13):
    bad = bytearray(good)
    bad[at] ^= 0x10
    shard.write_bytes(bad)
    store = rows_lib.RowStore(path)
    with pytest.raises(InputError, match=r"damaged: .*Error reading.*Remove"):
      store.read("train", np.arange(24))
  shard.write_bytes(good)
  found = rows_lib.RowStore(path).read("train", np.arange(24))
  np.testing.assert_array_equal(found, train)


def test_split_info_describes_the_rows(
  tmp_path, small_shards, write_store, random_rows, vocab
):
  train = random_rows(100, SEQ_LEN)
  store = write_store(tmp_path / "s", vocab, SEQ_LEN, train=train)
  info = store.info["train"]
  words = [i for i in train.ravel().tolist() if i not in vocab.special_ids]
  counts = collections.Counter(words)
  entropy = -math.fsum(
    n / len(words) * math.log(n / len(words)) for n in counts.values()
  )
  assert info.num_rows == 100
  assert info.tokens == len(words)
  assert info.fill == pytest.approx(np.mean(train != vocab.pad_id), abs=1e-6)
  assert info.unigram_entropy == pytest.approx(entropy, abs=1e-6)


def test_empty_split_has_no_rows(tmp_path, write_store, vocab):
  info = write_store(tmp_path / "s", vocab, SEQ_LEN).info["heldout"]
  assert (info.num_rows, info.tokens, info.unigram_entropy) == (0, 0, 0)


def test_fingerprint_changes_with_each_field():
  base = {"corpus": ["a:1", "b:2"], "tokenizer": "abc", "seq_len": 64}
  changed = [
    base,
    {**base, "corpus": ["a:1", "b:3"]},
    {**base, "corpus": ["b:2", "a:1"]},
    {**base, "tokenizer": "abd"},
    {**base, "seq_len": 65},
    {**base, "packing": "single"},
  ]
  names = [rows_lib.fingerprint(fields) for fields in changed]
  assert len(set(names)) == len(changed)
  backwards = dict(reversed(base.items()))
  assert rows_lib.fingerprint(backwards) == names[0]
