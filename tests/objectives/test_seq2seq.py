"""Decoders learn to generate what only the encoder has read."""

import dataclasses

import jax
import numpy as np
import pytest

from mlm_jax.data.corruption import corrupt
from mlm_jax.training.run import Run

pytestmark = pytest.mark.slow

KINDS = {
  "span_corruption": {"corruption.mask_rate": 0.3, "corruption.mean_span": 2.0},
  "mass": {"corruption.mask_rate": 0.5},
  "bart": {"corruption.noises": "document_rotation"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_reads_the_encoder(kind, make_config, vocab):
  """Rows count up from a random number, which only the encoder reads."""
  sentinels = tuple(range(290, 300))
  vocab = dataclasses.replace(
    vocab, other_special_ids=sentinels, sentinel_ids=sentinels
  )
  config = make_config(
    **{
      "objective.name": "seq2seq",
      "corruption.kind": kind,
      "data.num_sentinels": 0,
      "data.tokenizer": "given",
      "model.num_layers": 1,
      "model.num_decoder_layers": 1,
      "model.norm_placement": "pre",
      "data.seq_len": 16,
      "train.batch_size": 32,
      "train.steps": 1000,
      "optim.peak_lr": 1e-2,
      **KINDS[kind],
    }
  )
  run = Run.on(config, vocab, jax.devices()[:1])

  def batch(seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(10, 40, [32, 1]) + np.arange(16, dtype=np.int32)
    rows[:, 0], rows[:, -1] = vocab.start_id, vocab.end_id
    rows = rows.astype(np.int32)
    return corrupt(rows, 32 * seed, config.corruption, vocab, config.seed)

  state = run.init_state()
  for seed in range(config.train.steps):
    state, _ = run.train_step(state, run.to_device(batch(seed)))

  def loss(batch):
    sums = run.eval_step(state.params, run.to_device(batch))["seq2seq"]
    return float(sums["loss"] / sums["weight"])

  new = batch(10**6)
  other = new | {"input_ids": np.roll(new["input_ids"], 1, axis=0)}
  assert loss(new) < 0.2
  assert loss(other) > loss(new) + 0.5
