"""Masked and causal rows in one batch: terms, and the attention of each."""

import numpy as np
import pytest

from mlm_jax.config import build, default
from mlm_jax.errors import InputError
from mlm_jax.models.positions import segments_and_positions

MIXTURE = {
  "objective.name": "mixture",
  "corruption.next_token_share": 0.25,
  "corruption.prefix_share": 0.25,
}


@pytest.fixture
def make_mixed(vocab):
  """Makes a batch of prefix rows, causal rows and masked rows."""

  def make(seed=0):
    rng = np.random.default_rng(seed)
    first = rng.integers(5, 200, [8, 1])
    # Each token is followed by the next higher one.
    rows = (first + np.arange(32)).astype(np.int32)
    rows[:, 0], rows[:, -1] = vocab.start_id, vocab.end_id
    weights = np.ones([8, 32], np.float32)
    prefix = np.zeros([8, 32], np.int32)
    inputs, targets = rows.copy(), np.roll(rows, -1, axis=1)
    places = np.tile(np.arange(32, dtype=np.int32), [8, 1])
    weights[:, [0, 30, 31]] = 0
    prefix[:2, :8], weights[:2, :7] = 1, 0
    # The last four have masks.
    prefix[4:] = 1
    targets[4:] = rows[4:]
    weights[4:] = 0
    weights[4:, 3:30:5] = 1
    inputs[4:, 3:30:5] = vocab.mask_id
    return {
      "input_ids": inputs,
      "target_positions": places,
      "target_ids": targets,
      "target_weights": weights,
      "prefix": prefix,
    }

  return make


def test_each_row_counts_for_one_term(make_config, make_run, make_mixed):
  run, batch = make_run(make_config(**MIXTURE)), make_mixed()
  params = run.init_state().params
  found = run.eval_step(params, run.to_device(batch))
  assert float(found["mlm"]["weight"]) == batch["target_weights"][4:].sum()
  assert (
    float(found["causal_lm"]["weight"]) == batch["target_weights"][:4].sum()
  )
  weights = {name: t.weight for name, t in run.objective.terms.items()}
  assert weights == {"mlm": 0.5, "causal_lm": 0.5}


def test_masked_rows_have_bidirectional_attention(
  make_config, make_run, make_mixed, vocab
):
  run, batch = make_run(make_config(**MIXTURE)), make_mixed()
  params = run.init_state().params
  found = run.eval_step(params, run.to_device(batch))["mlm"]
  masked = {name: value[4:] for name, value in batch.items()}
  where = segments_and_positions(masked["input_ids"], vocab)
  logits = run.logits(
    params, masked["input_ids"], *where, masked["target_positions"]
  )
  logs = np.asarray(logits, np.float64)
  logs -= np.log(np.exp(logs).sum(axis=-1, keepdims=True))
  target_logs = np.take_along_axis(
    logs, masked["target_ids"][..., None], axis=-1
  )
  expected = -(target_logs[..., 0] * masked["target_weights"]).sum()
  np.testing.assert_allclose(float(found["loss"]), expected, rtol=1e-4)


def test_causal_rows_have_causal_attention(make_config, make_run, make_mixed):
  run, batch = make_run(make_config(**MIXTURE)), make_mixed()
  params = run.init_state().params
  only = batch["target_weights"].copy()
  only[4:] = 0
  only[:4, 12:] = 0
  batch["target_weights"] = only
  loss = lambda inputs: float(
    run.eval_step(params, run.to_device(batch | {"input_ids": inputs}))[
      "causal_lm"
    ]["loss"]
  )
  changed = batch["input_ids"].copy()
  changed[:4, 12:30] = 77
  assert loss(changed) == pytest.approx(loss(batch["input_ids"]), abs=1e-5)
  changed[:4, 11] = 77
  assert loss(changed) != pytest.approx(loss(batch["input_ids"]), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_both_terms_are_learnt(devices, make_config, make_run, make_mixed):
  config = make_config(
    **MIXTURE,
    **{
      "model.norm_placement": "pre",
      "train.log_every": 1,
      "train.steps": 200,
    },
  )
  run = make_run(config, devices)
  state = run.init_state()
  for seed in range(200):
    # A few batches, again and again.
    batch = run.to_device(make_mixed(seed % 2))
    state, metrics = run.train_step(state, batch)
  assert float(metrics["mlm_accuracy"]) > 0.9
  assert float(metrics["causal_lm_accuracy"]) > 0.9
  half = (float(metrics["mlm_loss"]) + float(metrics["causal_lm_loss"])) / 2
  assert float(metrics["loss"]) == pytest.approx(half, rel=1e-4)


@pytest.mark.parametrize(
  "overrides",
  [
    {"corruption.next_token_share": 0.0, "corruption.prefix_share": 0.0},
    {"objective.name": "mlm"},
    {"objective.name": "causal_lm", "corruption.kind": "next_token"},
    {"corruption.next_token_share": 0.9},
    {"corruption.sentence_pairs": "sop", "data.packing": "single"},
  ],
)
def test_configurations_that_are_no_mixture_raise(overrides):
  values = default()
  values.update_from_flattened_dict(MIXTURE | overrides)
  with pytest.raises(InputError) as raised:
    build(values)
  assert "\n" not in str(raised.value)
  assert "corruption." in str(raised.value)
