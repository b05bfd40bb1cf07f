"""Rows are the same whoever writes them, in one go or after a kill."""

import hashlib
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import time

import loky
import numpy as np
import pytest

from mlm_jax import registry
from mlm_jax.cli.main import main
from mlm_jax.data import blocks
from mlm_jax.data import prepare as prepare_lib
from mlm_jax.errors import InputError
from mlm_jax.workdir import Workdir

BLOCK_CHARS = 4_000


@pytest.fixture
def run_of(tmp_path, make_config, corpus, tokenizer):
  """Makes configurations of a corpus of three files."""
  text = corpus.read_text()[:60_000]
  for number in range(3):
    part = text[number * 20_000 : (number + 1) * 20_000]
    (tmp_path / f"part{number}.txt").write_text(part)
  (tmp_path / "spm.model").write_bytes(tokenizer.model)

  def make(**overrides):
    return make_config(
      **{
        "data.corpus": f"text:{tmp_path}/part*.txt",
        "data.tokenizer": str(tmp_path / "spm.model"),
        "data.vocab_size": tokenizer.vocabulary.size,
        "data.heldout_fraction": 0.1,
        **overrides,
      }
    )

  return make


@pytest.fixture
def small_blocks(monkeypatch):
  monkeypatch.setattr(blocks, "_BLOCK_CHARS", BLOCK_CHARS)


def prepare(config, workdir, say=lambda line: None):
  _, stores = prepare_lib.prepare(config, Workdir.at(workdir), say)
  return stores.sources[""]


def content(store):
  """Returns a hash of each file of a store."""
  root = pathlib.Path(store.path)
  return {
    str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in root.rglob("*")
    if path.is_file()
  }


@pytest.mark.slow
def test_rows_do_not_depend_on_the_number_of_processes(
  run_of, small_blocks, tmp_path, monkeypatch
):
  found = []
  for count in (1, 3):
    monkeypatch.setattr(loky, "cpu_count", lambda count=count: count)
    found.append(content(prepare(run_of(), tmp_path / str(count))))
  assert found[0] == found[1]
  assert sum("train/c/" in name for name in found[0]) > 10
  assert not any(blocks.FOLDER in name for name in found[0])


def test_what_was_finished_before_an_interrupt_is_not_written_again(
  run_of, small_blocks, tmp_path, monkeypatch
):
  monkeypatch.setattr(loky, "cpu_count", lambda: 1)
  whole = prepare(run_of(), tmp_path / "whole")
  written, write = [], blocks.write

  def interrupted(block, *args):
    if len(written) == 5:
      raise KeyboardInterrupt
    write(block, *args)
    written.append(block.number)

  with monkeypatch.context() as patch:
    patch.setattr(blocks, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
      prepare(run_of(), tmp_path / "stopped")

  def again(block, *args):
    written.append(block.number)
    write(block, *args)

  monkeypatch.setattr(blocks, "write", again)
  assert content(prepare(run_of(), tmp_path / "stopped")) == content(whole)
  assert len(written) == len(set(written)) > 10


def test_blocks_of_another_text_are_not_taken_for_this_one(
  make_config, tokenizer, small_blocks, tmp_path, monkeypatch
):
  """A format of one's own need not say that its content has changed."""
  monkeypatch.setattr(loky, "cpu_count", lambda: 1)
  (tmp_path / "spm.model").write_bytes(tokenizer.model)
  texts = [f"value {n} of the list" for n in range(2_000)]
  monkeypatch.setitem(
    registry.CORPUS_FORMATS._entries, "mine", lambda spec, data: iter(texts)
  )
  config = make_config(
    **{
      "data.corpus": "mine:x",
      "data.tokenizer": str(tmp_path / "spm.model"),
      "data.vocab_size": tokenizer.vocabulary.size,
    }
  )
  write = blocks.write

  def interrupted(block, *args):
    if block.number == 5:
      raise KeyboardInterrupt
    write(block, *args)

  with monkeypatch.context() as patch:
    patch.setattr(blocks, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
      prepare(config, tmp_path / "changed")
  texts[0] = "another text"
  store = prepare(config, tmp_path / "changed")
  assert content(store) == content(prepare(config, tmp_path / "new"))


# As the command, but with small blocks.
COMMAND = f"""
import sys, time
from mlm_jax.data import blocks
blocks._BLOCK_CHARS = {BLOCK_CHARS}
is_written = blocks.is_written
def slow(*args):
  time.sleep(0.2)
  return is_written(*args)
blocks.is_written = slow
from mlm_jax.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def start(config, workdir):
  """Starts `prepare` in a process group of its own."""
  Workdir.at(workdir).save_config(config)
  return subprocess.Popen(
    [sys.executable, "-c", COMMAND, "prepare", f"--workdir={workdir}"],
    cwd=pathlib.Path(__file__).parents[2],
    start_new_session=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


@pytest.mark.slow
def test_a_kill_in_mid_prepare_loses_nothing(run_of, small_blocks, tmp_path):
  whole = prepare(run_of(), tmp_path / "whole")
  config, workdir = run_of(), tmp_path / "killed"
  # What `start` writes down, it would otherwise train or read anew.
  prepare(config, workdir)
  (store,) = [p for p in (workdir / "rows").iterdir() if p.is_dir()]
  for path in (store, workdir / "rows" / "fingerprints.json"):
    os.rename(path, tmp_path / path.name)
  process = start(config, workdir)
  deadline = time.monotonic() + 60
  while len(list(store.glob(f"{blocks.FOLDER}/*.npz"))) < 5:
    assert time.monotonic() < deadline and process.poll() is None
    time.sleep(0.05)
  os.killpg(process.pid, signal.SIGKILL)
  process.wait()
  kept = {
    path: path.stat().st_mtime_ns for path in store.rglob("c/*/0/0") if path
  }
  again = prepare(config, workdir)
  assert content(again) == content(whole)
  finished = sum(path.stat().st_mtime_ns == at for path, at in kept.items())
  assert finished >= 5


@pytest.mark.slow
def test_of_two_prepares_at_once_one_waits(run_of, small_blocks, tmp_path):
  """In one work directory, or in two that share their rows."""
  whole = prepare(run_of(), tmp_path / "whole")
  for names in (("a", "a"), ("b", "c")):
    config = run_of(**{"data.rows_dir": str(tmp_path / f"rows_{names[0]}")})
    for name in set(names):
      prepare(config, tmp_path / name)
    (store,) = (tmp_path / f"rows_{names[0]}").glob("*/")
    for path in store.rglob("*.json"):
      path.unlink()
    processes = [start(config, tmp_path / name) for name in names]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert sum("waiting for it" in output for output in outputs) == 1
    assert content(prepare(config, tmp_path / names[0])) == content(whole)


@pytest.mark.slow
def test_a_damaged_shard_ends_training_with_one_line(run_of, tmp_path, capfd):
  """One flipped byte, or a file that was cut short."""
  config = run_of(**{"train.steps": 4, "train.log_every": 1})
  store = prepare(config, tmp_path / "w")
  Workdir.at(tmp_path / "w").save_config(config)
  (shard,) = (store.path / "train").glob("c/*/0/0")
  good = shard.read_bytes()
  flipped = bytearray(good)
  flipped[len(good) // 3] ^= 1
  for bad in (bytes(flipped), good[: len(good) // 2]):
    shard.write_bytes(bad)
    capfd.readouterr()
    assert main(["train", f"--workdir={tmp_path}/w"]) == 2
    error = capfd.readouterr().err.strip()
    assert "damaged" in error and str(store.path) in error
    assert "\n" not in error
  # Without them, the same command goes on.
  store.path.rmtree()
  assert main(["train", f"--workdir={tmp_path}/w"]) == 0


def test_a_full_disk_is_one_line_and_loses_nothing(
  run_of, small_blocks, tmp_path, monkeypatch
):
  """A limit on the size of files is met as a full disk is."""
  monkeypatch.setattr(loky, "cpu_count", lambda: 1)
  whole = prepare(run_of(), tmp_path / "whole")
  sizes = [path.stat().length for path in whole.path.glob("train/c/*/0/0")]
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  prepare(run_of(), tmp_path / "full")
  (store,) = [p for p in (tmp_path / "full/rows").iterdir() if p.is_dir()]
  shutil.rmtree(store)
  Workdir.at(tmp_path / "full").save_config(run_of())
  resource.setrlimit(resource.RLIMIT_FSIZE, (max(sizes) - 1, limits[1]))
  try:
    with pytest.raises(InputError, match="File too large") as error:
      prepare(run_of(), tmp_path / "full")
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert "\n" not in str(error.value) and str(store) in str(error.value)
  assert content(prepare(run_of(), tmp_path / "full")) == content(whole)


def test_cut_documents_are_reported(run_of, tmp_path):
  lines = []
  store = prepare(run_of(**{"data.seq_len": 16}), tmp_path / "w", lines.append)
  info = store.info["train"]
  assert 0 < info.num_cut <= info.num_documents
  share = f"{info.num_cut / info.num_documents:.1%} of the documents cut"
  assert any(share in line for line in lines)
  meta = json.loads((store.path / "rows.json").read_text())
  assert np.sum(meta["blocks"]["train"][1]) == info.num_rows


def test_a_corpus_without_text_is_an_error(run_of, tmp_path):
  for path in tmp_path.glob("part*.txt"):
    path.write_text("\n \n")
  with pytest.raises(InputError, match="holds no text"):
    prepare(run_of(), tmp_path / "w")
