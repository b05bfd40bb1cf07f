"""Mask-Predict: the predicted length, and tokens filled in over passes."""

import functools

import numpy as np
import pytest

from mlm_jax.cli.main import main
from mlm_jax.errors import InputError
from mlm_jax.evaluation import mask_predict as predict
from mlm_jax.evaluation.infill import least_confident


class Numbers:
  """A tokenizer of texts such as "10 11 12", whose words are token ids."""

  def __init__(self, vocab):
    self.vocabulary = vocab

  def encode_with_masks(self, text):
    mask = str(self.vocabulary.mask_id)
    return [int(word) for word in text.replace("[MASK]", mask).split()]

  def decode(self, ids):
    return " ".join(map(str, ids))


@pytest.fixture(scope="module")
def counting(make_config, make_run, vocab):
  """A model of texts that count up; one number is masked for the encoder."""
  overrides = {
    "objective.name": "cmlm",
    "corruption.kind": "cmlm",
    "model.num_decoder_layers": 1,
    "model.num_layers": 1,
    "model.norm_placement": "pre",
    "model.max_positions": 32,
    "data.seq_len": 16,
    "train.batch_size": 32,
    "train.steps": 800,
    "optim.peak_lr": 1e-2,
  }
  config = make_config(**overrides)
  run = make_run(config)

  def batch(seed):
    rng = np.random.default_rng(seed)
    rows = np.full([32, 16], vocab.pad_id, np.int32)
    sizes = rng.integers(3, 13, 32)
    for row, size in zip(rows, sizes, strict=True):
      text = rng.integers(10, 40) + np.arange(size)
      row[: size + 2] = [vocab.start_id, *text, vocab.end_id]
    inputs = rows.copy()
    inputs[np.arange(32), 2] = vocab.mask_id
    inside = rows > vocab.mask_id
    hidden = inside & (rng.random(rows.shape) < rng.random([32, 1]))
    lengths = np.zeros([32, 16], np.int32)
    lengths[:, 0] = sizes
    return {
      "input_ids": inputs,
      "decoder_ids": np.where(hidden, vocab.mask_id, rows),
      "target_ids": rows,
      "target_weights": hidden.astype(np.float32),
      "target_lengths": lengths,
    }

  state = run.init_state()
  for seed in range(config.train.steps):
    state, metrics = run.train_step(state, run.to_device(batch(seed)))
  assert float(metrics["cmlm_accuracy"]) > 0.9
  return run, state.params


@pytest.mark.slow
def test_mask_predict_restores_the_masked_token(counting, vocab):
  text = "20 [MASK] 22 23 24"
  mask_predict = functools.partial(
    predict.mask_predict, *counting, Numbers(vocab)
  )
  for passes in (1, 4):
    filled, log = mask_predict(text, passes, num_lengths=1)
    assert filled == "20 21 22 23 24"
    assert -1 < log < 0
    # A single token would be the most confident text; its length is improbable.
    filled, best = mask_predict(text, passes, num_lengths=29)
    assert len(filled.split()) > 3
    assert best > log - 1e-5  # Another batch size rounds differently.


@pytest.mark.slow
def test_each_pass_masks_fewer_of_the_least_confident_tokens(
  counting, vocab, monkeypatch
):
  run, params = counting
  original, calls = predict._predict, []

  def spy(model, vocab, params, encoded, ids):
    found = original(model, vocab, params, encoded, ids)
    calls.append((np.asarray(ids), *(np.asarray(x)[..., 0] for x in found)))
    return found

  monkeypatch.setattr(predict, "_predict", spy)
  text = "20 [MASK] 22 23 24 25 26 27"
  predict.mask_predict(run, params, Numbers(vocab), text, 4, num_lengths=1)
  masked = [ids == vocab.mask_id for ids, *_ in calls]
  assert [where.sum() for where in masked] == [8, 6, 4, 2]
  _, predicted, log = calls[0]
  kept = masked[0] & ~masked[1]
  assert (calls[1][0][kept] == predicted[kept]).all()
  assert log[kept].min() >= log[masked[1]].max()


def test_least_confident_decreases_linearly():
  confidence = np.array([0.3, 0.1, 0.9, 0.2])
  masked = least_confident(confidence, 1, 2)
  assert masked.tolist() == [False, True, False, True]
  assert not least_confident(confidence, 2, 2).any()
  assert least_confident(confidence, 1, 4).sum() == 3


@pytest.mark.slow
@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"passes": 0}, "--passes"),
    ({"num_lengths": 0}, "--lengths"),
    ({"text": "10 " * 31}, "the model takes 32"),
  ],
)
def test_invalid_options_are_input_errors(counting, vocab, options, message):
  run, params = counting
  options = {"text": "20 21", **options}
  with pytest.raises(InputError, match=message):
    predict.mask_predict(run, params, Numbers(vocab), **options)


@pytest.mark.slow
def test_mask_predict_command(recipe, tmp_path, capsys):
  values = {
    "objective.name": "cmlm",
    "corruption.kind": "cmlm",
    "model.num_decoder_layers": 1,
    "train.steps": 12,
  }
  arguments = [f"--config.{key}={value}" for key, value in values.items()]
  workdir = f"--workdir={tmp_path}"
  assert main(["train", f"--config={recipe}", workdir, *arguments]) == 0
  capsys.readouterr()
  text = "--text=The [MASK] of a list."
  assert main(["mask_predict", workdir, text, "--passes=2"]) == 0
  assert "nats per token" in capsys.readouterr().out


def test_encoders_are_pointed_to_fill_mask(trained, capsys):
  assert main(["mask_predict", f"--workdir={trained}", "--text=a"]) == 2
  assert "fill_mask --passes" in capsys.readouterr().err
