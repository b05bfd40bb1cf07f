"""ONNX models compute what the models of transformers do."""

import numpy as np
import onnxruntime
import pytest

from mlm_jax.cli.main import main
from mlm_jax.evaluation.embed import embed
from mlm_jax.training.restoring import restore
from mlm_jax.workdir import Workdir

pytestmark = pytest.mark.slow


def session(path):
  found = onnxruntime.InferenceSession(
    str(path), providers=["CPUExecutionProvider"]
  )

  def run(rows):
    ids = np.zeros([len(rows), max(map(len, rows))], np.int64)
    mask = np.zeros_like(ids)
    for number, row in enumerate(rows):
      ids[number, : len(row)], mask[number, : len(row)] = row, 1
    return found.run(None, {"input_ids": ids, "attention_mask": mask})[0]

  return run


@pytest.mark.parametrize("pool", ["mean", "start"])
def test_vectors_are_those_of_embed(pool, trained, tmp_path, capsys):
  out = tmp_path / "model.onnx"
  arguments = [f"--workdir={trained}", f"--out={out}", f"--pool={pool}"]
  assert main(["export_onnx", *arguments]) == 0
  said = capsys.readouterr().out
  assert f"Wrote {out}: " in said and " MB; vectors differ by " in said
  run, params, tokenizer, *_ = restore(Workdir.at(trained))
  texts = ["The class statement.", "a", "Exceptions are raised by the parser."]
  vocab = tokenizer.vocabulary
  rows = [
    [vocab.start_id, *ids, vocab.end_id] for ids in tokenizer.encode(texts)
  ]
  expected = embed(run, params, tokenizer, texts, pool)
  np.testing.assert_allclose(session(out)(rows), expected, atol=1e-4)


def test_logits_are_those_of_our_model(trained, tmp_path, capsys):
  out = tmp_path / "model.onnx"
  assert main(["export_onnx", f"--workdir={trained}", f"--out={out}"]) == 0
  assert "logits differ by" in capsys.readouterr().out
  run, params, tokenizer, *_ = restore(Workdir.at(trained))
  vocab = tokenizer.vocabulary
  (ids,) = tokenizer.encode(["The value of the expression."])
  row = np.array([[vocab.start_id, *ids, vocab.end_id]])
  segments, positions = np.ones_like(row), np.arange(row.shape[1])[None]
  ours = run.logits(params, row, segments, positions, positions)
  found = session(out)(row)
  assert found.shape == (1, row.shape[1], vocab.size)
  np.testing.assert_allclose(found, ours[..., : vocab.size], atol=1e-4)


@pytest.mark.parametrize(
  ("option", "message"),
  [
    ("--out={}/model", "must end in .onnx"),
    ("--out={}/there.onnx", "already exists"),
    ("--pool=men", "did you mean 'mean'"),
  ],
)
def test_bad_arguments_are_one_line(option, message, trained, tmp_path, capsys):
  (tmp_path / "there.onnx").write_bytes(b"")
  arguments = [f"--workdir={trained}", f"--out={tmp_path}/out.onnx"]
  assert main(["export_onnx", *arguments, option.format(tmp_path)]) == 2
  assert message in capsys.readouterr().err
