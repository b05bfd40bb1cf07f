"""Several masks, filled in and told in passes: what comes later sees more."""

import numpy as np
import pytest

from mlm_jax.evaluation import fill_mask, heldout
from mlm_jax.training.restoring import restore
from mlm_jax.workdir import Workdir


@pytest.fixture
def chorus(make_config, make_run, vocab):
  """A model of rows of one token eight times, and a batch that hides all."""
  config = make_config(
    **{
      "data.seq_len": 10,
      "corruption.mask_rate": 0.8,
      "model.norm_placement": "pre",
      "train.steps": 300,
      "optim.peak_lr": 1e-2,
    }
  )
  run = make_run(config)

  def batch(seed, all_of_them=False):
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.integers(10, 18, [8, 1]), 10, axis=1).astype(np.int32)
    rows[:, 0], rows[:, -1] = vocab.start_id, vocab.end_id
    places = np.stack([1 + rng.permutation(8) for _ in rows]).astype(np.int32)
    counts = 8 if all_of_them else rng.integers(1, 9, [8, 1])
    weights = np.ones([8, 8]) * (np.arange(8) < counts)
    shown = np.where(weights > 0, vocab.mask_id, rows[:, 1:2])
    inputs = rows.copy()
    np.put_along_axis(inputs, places, shown.astype(np.int32), axis=1)
    return {
      "input_ids": inputs,
      "target_positions": places,
      "target_ids": rows[:, 1:9].copy(),
      "target_weights": weights.astype(np.float32),
    }

  state = run.init_state()
  for seed in range(config.train.steps):
    state, _ = run.train_step(state, run.to_device(batch(seed)))
  return run, state.params, batch(10**6, all_of_them=True)


def test_what_one_target_says_of_the_others_is_not_lost(chorus):
  run, params, batch = chorus
  tell = lambda passes: float(
    heldout._told_in_passes(run, params, run.to_device(batch), passes)
  )
  once = run.eval_step(params, run.to_device(batch))["mlm"]
  assert tell(1) == pytest.approx(float(once["loss"]), rel=1e-4)
  # Of eight kinds, one is told blindly by each of eight tokens; by half of them;
  # by one.
  assert tell(2) < 0.8 * tell(1)
  assert tell(8) < 0.8 * tell(2)
  # More passes than targets change nothing.
  assert tell(11) == pytest.approx(tell(8), rel=1e-3)


def test_each_pass_sees_what_the_ones_before_filled_in(trained, monkeypatch):
  run, params, tokenizer, _ = restore(Workdir.at(trained))
  logits, seen = run.logits, []

  def spy(params, ids, *rest):
    seen.append(np.asarray(ids)[0].copy())
    return logits(params, ids, *rest)

  monkeypatch.setitem(run.__dict__, "logits", spy)
  text = "The [MASK] of [MASK] is [MASK] [MASK]."
  guesses = fill_mask.fill_mask(run, params, tokenizer, text, 3, passes=4)
  masks = [(ids == tokenizer.vocabulary.mask_id).sum() for ids in seen]
  assert masks == [4, 3, 2, 1]
  # The last pass sees what the others have put in three of the places.
  vocab = tokenizer.vocabulary
  places = np.flatnonzero(seen[0] == vocab.mask_id)
  filled = [int(i) for i in seen[-1][places] if i != vocab.mask_id]
  best = [guess[0][0] for guess in guesses]
  assert all(tokenizer.reading(i) in best for i in filled)
  seen.clear()
  once = fill_mask.fill_mask(run, params, tokenizer, text, 3)
  assert len(seen) == 1
  assert len(once) == len(guesses) == 4


@pytest.mark.parametrize(
  ("text", "mask_token"),
  [("a [MASK] b [MASK]s.", "<mask>"), ("a <mask> b <mask>s.", "<mask>")],
)
def test_guesses_fill_either_spelling(text, mask_token):
  guesses = [[(" cat", 0.5), ("ing", 0.1)], [(" dog", 0.5)]]
  filled, *described = fill_mask.describe(text, guesses, mask_token)
  assert filled == "a cat b dogs."
  assert described[0].endswith("cat 50.0%  …ing 10.0%")
