"""A text said all at once: as long as it should be, and what it should be."""

import numpy as np
import pytest

from mlm_jax.cli.main import main
from mlm_jax.errors import InputError
from mlm_jax.evaluation import mask_predict as predict
from mlm_jax.evaluation.fill_mask import least_sure


class Numbers:
  """A tokenizer of texts such as "10 11 12", whose tokens are those ids."""

  def __init__(self, vocab):
    self.vocabulary = vocab

  def encode_with_masks(self, text):
    mask = str(self.vocabulary.mask_id)
    return [int(word) for word in text.replace("[MASK]", mask).split()]

  def decode(self, ids):
    return " ".join(map(str, ids))


@pytest.fixture(scope="module")
def counting(make_config, make_run, vocab):
  """A model of texts that count up, one number of which the encoder misses."""
  config = make_config(
    **{
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
  )
  run = make_run(config)

  def batch(seed):
    rng = np.random.default_rng(seed)
    rows = np.full([32, 16], vocab.pad_id, np.int32)
    sizes = rng.integers(3, 13, 32)
    for row, size in zip(rows, sizes, strict=True):
      text = rng.integers(10, 40) + np.arange(size)
      row[: size + 2] = [vocab.start_id, *text, vocab.end_id]
    seen = rows.copy()
    seen[np.arange(32), 2] = vocab.mask_id
    inside = rows > vocab.mask_id
    hidden = inside & (rng.random(rows.shape) < rng.random([32, 1]))
    lengths = np.zeros([32, 16], np.int32)
    lengths[:, 0] = sizes
    return {
      "input_ids": seen,
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


def test_what_is_missing_is_said_and_no_more(counting, vocab):
  run, params = counting
  tokenizer = Numbers(vocab)
  for passes in (1, 4):
    said, log = predict.mask_predict(
      *(run, params, tokenizer, "20 [MASK] 22 23 24"), passes, num_lengths=1
    )
    assert said == "20 21 22 23 24"
    assert -1 < log < 0
    # A single token would be the surest of all texts; it is no likely length.
    said, best = predict.mask_predict(
      *(run, params, tokenizer, "20 [MASK] 22 23 24"), passes, num_lengths=29
    )
    assert len(said.split()) > 3
    assert best > log - 1e-5  # The same text in another batch is rounded anew.


def test_the_least_sure_are_masked_again_fewer_each_time(
  counting, vocab, monkeypatch
):
  run, params = counting
  tell, seen = predict._tell, []

  def spy(model, vocab, params, read, ids):
    told = tell(model, vocab, params, read, ids)
    seen.append((np.asarray(ids), *map(np.asarray, told)))
    return told

  monkeypatch.setattr(predict, "_tell", spy)
  text = "20 [MASK] 22 23 24 25 26 27"
  predict.mask_predict(run, params, Numbers(vocab), text, 4, num_lengths=1)
  masked = [ids == vocab.mask_id for ids, *_ in seen]
  assert [where.sum() for where in masked] == [8, 6, 4, 2]
  _, told, log = seen[0]
  kept = masked[0] & ~masked[1]
  assert (seen[1][0][kept] == told[kept]).all()
  assert log[kept].min() >= log[masked[1]].max()


def test_as_many_as_is_linear_are_asked_for_again():
  sure = np.array([0.3, 0.1, 0.9, 0.2])
  assert least_sure(sure, 1, 2).tolist() == [False, True, False, True]
  assert not least_sure(sure, 2, 2).any()
  assert least_sure(sure, 1, 4).sum() == 3


@pytest.mark.parametrize(
  ("options", "said"),
  [
    ({"passes": 0}, "--passes"),
    ({"num_lengths": 0}, "--lengths"),
    ({"text": "10 " * 31}, "the model takes 32"),
  ],
)
def test_what_cannot_be_is_refused(counting, vocab, options, said):
  run, params = counting
  options = {"text": "20 21", **options}
  with pytest.raises(InputError, match=said):
    predict.mask_predict(run, params, Numbers(vocab), **options)


def test_the_command_mends_texts(recipe, tmp_path, capsys):
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
  assert "nats a token" in capsys.readouterr().out


def test_encoders_are_told_what_to_use(trained, capsys):
  assert main(["mask_predict", f"--workdir={trained}", "--text=a"]) == 2
  assert "fill_mask --passes" in capsys.readouterr().err
