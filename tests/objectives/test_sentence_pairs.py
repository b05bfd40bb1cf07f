"""Pairs are judged beside the masks, and the judge stays behind."""

import jax
import numpy as np
import pytest

from mlm_jax.models.composite import MaskedLM

PAIRS = {"corruption.sentence_pairs": "nsp", "data.packing": "single"}


@pytest.fixture
def make_pairs(make_batch):
  """Makes batches in which the second token tells whether it is a pair."""

  def make(config, seed=0):
    batch = make_batch(config, seed)
    rng = np.random.default_rng(seed)
    size, length = batch["input_ids"].shape
    labels = rng.integers(0, 2, size).astype(np.int32)
    batch["input_ids"][:, 1] = 10 + labels
    return batch | {
      "type_ids": np.tile(np.arange(length) > length // 2, [size, 1]) * 1,
      "pair_labels": labels,
      "pair_weights": (np.arange(size) > 0).astype(np.float32),
    }

  return make


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_sentence_pairs_are_learnt(devices, make_config, make_run, make_pairs):
  config = make_config(
    **PAIRS,
    **{
      "model.norm_placement": "pre",
      "train.batch_size": 32,
      "train.log_every": 10,
      "train.steps": 200,
    },
  )
  run = make_run(config, devices)
  state = run.init_state()
  for seed in range(200):
    batch = run.to_device(make_pairs(config, seed))
    state, metrics = run.train_step(state, batch)
  assert float(metrics["pair_accuracy"]) > 0.9
  np.testing.assert_allclose(
    metrics["loss"], metrics["mlm_loss"] + metrics["pair_loss"], rtol=1e-5
  )


def test_rows_without_a_pair_do_not_count(make_config, make_run, make_pairs):
  config = make_config(**PAIRS)
  run = make_run(config)
  params, batch = run.init_state().params, make_pairs(config)
  before = run.eval_step(params, run.to_device(batch))["pair"]
  assert float(before["weight"]) == config.train.batch_size - 1
  batch["pair_labels"][0] ^= 1  # Of weight 0.
  after = run.eval_step(params, run.to_device(batch))["pair"]
  assert float(before["loss"]) == float(after["loss"])
  batch["pair_labels"][1] ^= 1
  other = run.eval_step(params, run.to_device(batch))["pair"]
  assert float(before["loss"]) != float(other["loss"])


def test_types_matter_and_the_submodel_has_no_pair_head(
  make_config, make_run, make_pairs
):
  config = make_config(**PAIRS)
  run = make_run(config)
  state = run.init_state()
  params, batch = state.params, make_pairs(config)
  loss = lambda batch: float(
    run.eval_step(params, run.to_device(batch))["mlm"]["loss"]
  )
  swapped = batch | {"type_ids": 1 - batch["type_ids"]}
  assert loss(batch) != loss(swapped)
  model, own = run.objective.submodels(params)["model"]
  assert type(model) is MaskedLM
  assert set(own) == {"encoder", "head"}
  shapes = jax.tree.map(np.shape, own)
  assert "pair" in params and "pair" not in shapes
