"""Masks filled in several passes: later predictions see earlier ones."""

import numpy as np
import pytest

from mlm_jax.batch import masked
from mlm_jax.cli.predict import describe
from mlm_jax.evaluation import fill_mask, heldout
from mlm_jax.training.restoring import restore
from mlm_jax.workdir import Workdir


@pytest.fixture
def repeating(make_config, make_run, vocab):
  """A model of rows of one token eight times, and a fully masked batch."""
  overrides = {
    "data.seq_len": 10,
    "corruption.mask_rate": 0.8,
    "model.norm_placement": "pre",
    "train.steps": 300,
    "optim.peak_lr": 1e-2,
  }
  config = make_config(**overrides)
  run = make_run(config)

  def batch(seed, mask_all=False):
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.integers(10, 18, [8, 1]), 10, axis=1).astype(np.int32)
    rows[:, 0], rows[:, -1] = vocab.start_id, vocab.end_id
    positions = np.stack([1 + rng.permutation(8) for _ in rows])
    counts = 8 if mask_all else rng.integers(1, 9, [8, 1])
    is_target = np.broadcast_to(np.arange(8) < counts, positions.shape)
    return masked(rows, positions, is_target, vocab.mask_id)

  state = run.init_state()
  for seed in range(config.train.steps):
    state, _ = run.train_step(state, run.to_device(batch(seed)))
  return run, state.params, batch(10**6, mask_all=True)


@pytest.mark.slow
def test_joint_loss_falls_with_passes_on_dependent_targets(repeating):
  run, params, batch = repeating
  joint_loss = lambda passes: float(
    heldout._joint_loss(run, params, run.to_device(batch), passes)
  )
  once = run.eval_step(params, run.to_device(batch))["mlm"]
  assert joint_loss(1) == pytest.approx(float(once["loss"]), rel=1e-4)
  # The row's token, one of eight, is guessed by all eight targets in one pass,
  # by half of them in two passes, by one in eight passes.
  assert joint_loss(2) < 0.8 * joint_loss(1)
  assert joint_loss(8) < 0.8 * joint_loss(2)
  # More passes than targets change nothing.
  assert joint_loss(11) == pytest.approx(joint_loss(8), rel=1e-3)


def test_fill_mask_passes_see_earlier_predictions(trained, monkeypatch):
  run, params, tokenizer, *_ = restore(Workdir.at(trained))
  logits, inputs = run.logits, []

  def spy(params, ids, *rest):
    inputs.append(np.asarray(ids)[0].copy())
    return logits(params, ids, *rest)

  monkeypatch.setitem(run.__dict__, "logits", spy)
  text = "The [MASK] of [MASK] is [MASK] [MASK]."
  guesses = fill_mask.fill_mask(run, params, tokenizer, text, 3, passes=4)
  masks = [(ids == tokenizer.vocabulary.mask_id).sum() for ids in inputs]
  assert masks == [4, 3, 2, 1]
  # The last pass sees three predictions of earlier passes.
  vocab = tokenizer.vocabulary
  positions = np.flatnonzero(inputs[0] == vocab.mask_id)
  filled = [int(i) for i in inputs[-1][positions] if i != vocab.mask_id]
  best = [guess[0][0] for guess in guesses]
  assert all(tokenizer.display_text(i) in best for i in filled)
  inputs.clear()
  once = fill_mask.fill_mask(run, params, tokenizer, text, 3)
  assert len(inputs) == 1
  assert len(once) == len(guesses) == 4


@pytest.mark.parametrize(
  ("text", "mask_token"),
  [("a [MASK] b [MASK]s.", "<mask>"), ("a <mask> b <mask>s.", "<mask>")],
)
def test_describe_fills_both_spellings_of_the_mask(text, mask_token):
  guesses = [[(" cat", 0.5), ("ing", 0.1)], [(" dog", 0.5)]]
  filled, *described = describe(text, guesses, mask_token)
  assert filled == "a cat b dogs."
  assert described[0].endswith("cat 50.0%  …ing 10.0%")
