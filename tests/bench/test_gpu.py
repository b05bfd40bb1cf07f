"""bench/gpu.py on a CPU with tiny shapes; no time is asserted."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from mlm_jax.models import flops
from mlm_jax.models.attention import AttentionMask
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.objectives import bind
from mlm_jax.vocabulary import Vocabulary

ROOT = pathlib.Path(__file__).parents[2]
VOCAB = Vocabulary(512, 0, 1, 2, 3, 4)


@pytest.fixture
def bench(monkeypatch):
  """Imports the folder's modules as scripts do; it is not a package."""
  monkeypatch.syspath_prepend(str(ROOT / "bench"))
  import gpu
  import gpu_rows

  return gpu, gpu_rows


@pytest.fixture
def packed(bench):
  """A config with attention windows, and packed rows, the last one short."""
  gpu, gpu_rows = bench
  name = "train/mlm_jax/modernbert_base/8192"
  row = next(r for r in gpu.plan(True, []) if r["name"] == name)
  config = gpu_rows.make_config(row, 8, smoke=True)
  rng = np.random.default_rng(0)
  rows = gpu_rows.make_rows(config, VOCAB, 8, "", rng)
  rows[-1, 100:] = VOCAB.pad_id
  return config, rows, gpu_rows.corrupt(rows, config, VOCAB, rng)


def test_special_tokens_are_never_masked(packed):
  config, rows, batch = packed
  is_target = batch["target_weights"] > 0
  original = np.take_along_axis(rows, batch["target_positions"], axis=1)
  np.testing.assert_array_equal(original, batch["target_ids"])
  assert VOCAB.is_ordinary[original[is_target]].all()
  maskable = VOCAB.is_ordinary[rows].sum(axis=1)
  rate = config.corruption.mask_rate
  np.testing.assert_array_equal(
    is_target.sum(axis=1), np.round(rate * maskable)
  )
  hidden = np.zeros(rows.shape, bool)
  places = np.nonzero(is_target)[0], batch["target_positions"][is_target]
  hidden[places] = True
  np.testing.assert_array_equal(batch["input_ids"][~hidden], rows[~hidden])
  shown = batch["input_ids"][hidden]
  assert 0.75 < (shown == VOCAB.mask_id).mean() < 0.85
  assert 0.05 < (shown == rows[hidden]).mean() < 0.15


def test_segments_and_positions_equal_the_models(bench, packed):
  _, gpu_rows = bench
  ids = packed[2]["input_ids"]
  found = segments_and_positions(ids, VOCAB)
  segments = gpu_rows.segments(ids, VOCAB)
  np.testing.assert_array_equal(segments, found[0])
  assert segments.max() > 1
  assert np.count_nonzero(segments) == (ids != VOCAB.pad_id).sum()


def test_seen_keys_and_flops(bench, packed):
  config, rows, _ = packed
  _, gpu_rows = bench
  segments = gpu_rows.segments(rows, VOCAB)
  for window in (0, 2, 16, 1000):
    sees = AttentionMask(segments, window=window).visible_BLM
    pairs = np.sum(sees * (segments > 0)[:, :, None])
    mean = pairs / np.count_nonzero(segments)
    assert flops.seen_keys(segments, window) == pytest.approx(mean)
  objective = bind(config, VOCAB)
  dense = objective.flops_per_token
  assert 0 < objective.flops_per_token_within(rows) < dense


def test_peer_attention_masks_equal_ours(bench, packed):
  pytest.importorskip("torch")
  pytest.importorskip("transformers")
  import gpu_peers

  ids, segments, positions, labels = gpu_peers.to_tensors(packed[2], VOCAB)
  found = segments_and_positions(ids.numpy(), VOCAB)
  np.testing.assert_array_equal(positions.numpy(), found[1])
  assert (labels >= 0).sum() == packed[2]["target_weights"].sum()
  for window in (0, 16):
    mask = gpu_peers.make_mask("torch_packed", segments, window)
    sees = AttentionMask(found[0], window=window).visible_BLM
    np.testing.assert_array_equal(mask[:, 0].numpy(), sees)


def test_document_lengths_of_a_corpus(bench, tmp_path):
  _, gpu_rows = bench
  (tmp_path / "a.txt").write_text("one two\nthree\n\n\n" + "word " * 10)
  lengths = gpu_rows.document_lengths(
    str(tmp_path / "*.txt"), np.random.default_rng(0)
  )
  assert sorted(next(lengths) for _ in range(4)) == [4, 4, 13, 13]


def test_the_fastest_batch_size_is_kept_and_failures_reported(
  bench, monkeypatch
):
  _, gpu_rows = bench
  speeds = {1: 10, 2: 30, 4: 20}

  def fake(row, batch_size, *_):
    if batch_size == 8:
      raise MemoryError("RESOURCE_EXHAUSTED: much\nmore")
    return {"ms": batch_size, "tokens_per_second": speeds[batch_size]}

  monkeypatch.setattr(gpu_rows, "_train", fake)
  found = gpu_rows.train({"batches": (1, 2, 4, 8)}, True, "", None)
  told = "MemoryError: RESOURCE_EXHAUSTED: much"
  assert found == {
    "ms": 2,
    "tokens_per_second": 30,
    "tried": {1: 1, 2: 2, 4: 4, 8: told},
  }
  assert gpu_rows.train({"batches": (8,)}, True, "", None) == {"error": told}


def run(tmp_path, *arguments):
  # Python runs sitecustomize in each process; it makes these imports fail.
  (tmp_path / "sitecustomize.py").write_text(
    "import sys; sys.modules['tensorflow'] = None\n"
  )
  environment = os.environ | {
    "PYTHONPATH": f"{tmp_path}:{ROOT}",
    # Many of the tiny steps are identical.
    "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  }
  command = [sys.executable, str(ROOT / "bench/gpu.py"), *arguments]
  done = subprocess.run(
    command, env=environment, capture_output=True, text=True, check=True
  )
  return done.stdout, done.stderr


@pytest.mark.slow
def test_every_row_is_measured_once(bench, tmp_path):
  pytest.importorskip("torch")
  pytest.importorskip("transformers")
  out = tmp_path / "gpu.json"
  command = ["--smoke", "--attention=dense", f"--out={out}"]
  printed, _ = run(tmp_path, *command)
  rows = {row["name"]: row for row in json.loads(out.read_text())["rows"]}
  planned = bench[0].plan(True, ["dense"])
  assert list(rows) == [row["name"] for row in planned]
  for name, row in rows.items():
    assert f"| {name.partition('/')[2]} |" in printed
    kind, impl, *_ = name.split("/")
    if kind == "attention" and impl in ("cudnn", "tokamax", "local"):
      assert (
        "error" not in row
        or "supports" in row["error"]
        or "needs" in row["error"]
      )
      continue
    assert "error" not in row, row
    if kind == "ceiling":
      assert row["rate"] > 0
    elif kind == "attention":
      assert 0 < row["output_error"] < 0.02 * row["output_size"]
      assert 0 < row["gradient_error"] < 0.02 * row["gradient_size"]
    else:
      assert row["tried"] == {"2": row["ms"]}
      assert row["tokens_per_second"] > 0
      assert 0.5 < row["real_share"] <= 1
      assert 0 < row["seen_utilisation"] <= row["utilisation"]
      assert row["attention"]
      # The entropy of 512 equally likely tokens.
      assert 5.5 < row["loss"] < 6.6
  again, told = run(tmp_path, *command)
  assert (again, told) == (printed, "")
  assert run(tmp_path, f"--table={out}")[0] == printed


def test_a_process_that_dies_loses_one_row(bench, tmp_path):
  gpu, _ = bench
  rows = gpu.plan(True, [])
  dying = next(r for r in rows if r["name"].startswith("train/mlm_jax"))
  dying = dying | {"environment": {"XLA_FLAGS": "--xla_no_such_flag=1"}}
  with open(tmp_path / "log", "a+") as log:
    spec = {"smoke": True, "corpus": ""}
    found = list(gpu.in_process([dying] * 2, spec, log, float("inf")))
  assert len(found) == 1
  assert "xla_no_such_flag" in found[0][1]["error"]


def test_rows_without_time_are_listed(tmp_path):
  out = tmp_path / "gpu.json"
  printed, _ = run(tmp_path, "--smoke", "--minutes=0", f"--out={out}")
  assert "ceiling/copy ceiling/matmul" in printed
