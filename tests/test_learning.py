"""Objectives learn from the context of real text, not from token frequencies.

For an encoder, whose held-out targets are all shown as [MASK], the unigram
entropy bounds what a model without context reaches. A causal model also knows
the token before, and a decoder its own. So all are evaluated a second time with
attention restricted to the token itself: a model that makes no use of attention
would not notice.

Of the decoders, only BART's attends to the encoder's output within so few
steps; the others are tested on synthetic texts, in objectives/test_seq2seq.py
and evaluation/test_mask_predict.py.
"""

import json

import jax
import numpy as np
import pytest

from mlm_jax import registry
from mlm_jax.cli.main import main
from mlm_jax.data import pipeline, prepare
from mlm_jax.data.host_tensorflow import iterate
from mlm_jax.data.tokenizers import load
from mlm_jax.families import DROPOUTS
from mlm_jax.models.attention import AttentionMask
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.training.run import Run
from mlm_jax.workdir import Workdir

pytestmark = pytest.mark.slow

# How far below the entropy: five standard errors of a loss over 3,000 targets.
GAIN = 0.15

# How much attention to other tokens must lower the loss.
CONTEXT_GAIN = 0.1

# How much the encoder's input must lower a decoder's loss.
READING_GAIN = 0.1

SMALL = {
  "data.seq_len": 64,
  "model.num_layers": 2,
  "model.width": 64,
  "model.mlp_width": 128,
  # Post-norm and learned positions begin slowly.
  "model.norm_placement": "pre",
  "model.position_kind": "rope",
  "model.init_stddev": 0.05,
  **{f"model.{place}": 0.0 for place in DROPOUTS},
  "corruption.mask_rate": 0.3,
  "optim.peak_lr": 5e-3,
  "optim.warmup_steps": 50,
  "optim.b2": 0.98,
  "train.steps": 300,
  "train.batch_size": 16,
  "train.eval_every": 300,
  "train.checkpoint_every": 400,
  "train.eval_batches": 8,
  "train.log_every": 100,
}
SINGLE = {"data.packing": "single", "train.batch_size": 24}
QUICK = {"train.steps": 200, "train.eval_every": 200}
SLOW = {"train.steps": 400, "train.eval_every": 400}
DECODER = {"model.num_decoder_layers": 2, "objective.name": "seq2seq"}
LEARN = {
  "whole_words": {"corruption.kind": "whole_words"},
  "span_boundary": {
    "corruption.kind": "spans",
    "objective.span_boundary": True,
  },
  "nsp": {"corruption.sentence_pairs": "nsp", **SINGLE, **SLOW},
  "sop": {"corruption.sentence_pairs": "sop", **SINGLE, **SLOW},
  "mixture": {
    "objective.name": "mixture",
    "corruption.next_token_share": 0.25,
    "corruption.prefix_share": 0.25,
    **QUICK,
  },
  "rtd": {
    "objective.name": "rtd",
    "objective.generator_share": 1.0,
    "objective.rtd_weight": 1.0,
  },
  "causal": {
    "objective.name": "causal_lm",
    "corruption.kind": "next_token",
    **QUICK,
  },
  "prefix": {
    "objective.name": "causal_lm",
    "corruption.kind": "prefix",
    **QUICK,
  },
  "t5": {
    "corruption.kind": "span_corruption",
    "data.num_sentinels": 10,
    **DECODER,
    **QUICK,
  },
  "bart": {
    "corruption.kind": "bart",
    **DECODER,
  },
  "mass": {
    "corruption.kind": "mass",
    "model.position_kind": "learned",
    **DECODER,
    **SLOW,
  },
}


@pytest.mark.parametrize("name", LEARN)
def test_heldout_loss_falls_below_the_unigram_entropy(
  name, recipe, tmp_path, monkeypatch
):
  values = SMALL | LEARN[name]
  arguments = [f"--config.{key}={value}" for key, value in values.items()]
  arguments += [f"--config={recipe}", f"--workdir={tmp_path}"]
  assert main(["train", *arguments]) == 0
  workdir = Workdir.at(tmp_path)
  config = workdir.load_config()
  lines = workdir.metrics.read_text().splitlines()
  last = [r for r in map(json.loads, lines) if r["split"] == "heldout"][-1]
  assert last["step"] == config.train.steps
  _, stores = prepare.load(config, workdir)
  store = stores.sources[""]
  objective = registry.OBJECTIVES[config.objective.name]
  loss, _ = objective.token_loss_and_accuracy(last)
  assert loss < store.info["heldout"].unigram_entropy - GAIN
  without_context = loss_by_itself(workdir, config, store, monkeypatch)
  assert loss < without_context - CONTEXT_GAIN
  if config.corruption.kind == "bart":
    assert loss < loss_of_another_text(workdir, config, store) - READING_GAIN


def loss_of_another_text(workdir, config, store):
  """Returns the held-out loss given the encoder input of the next row."""

  def change(batch):
    return {**batch, "input_ids": np.roll(batch["input_ids"], 1, axis=0)}

  return heldout_loss(workdir, config, store, change)


def loss_by_itself(workdir, config, store, monkeypatch):
  """Returns the held-out loss where each token attends to itself alone."""
  with monkeypatch.context() as patch:
    itself = property(lambda mask: (mask.distance_LM == 0)[None])
    patch.setattr(AttentionMask, "visible_BLM", itself)
    return heldout_loss(workdir, config, store)


def heldout_loss(workdir, config, store, change=lambda batch: batch):
  tokenizer = load(workdir.tokenizer)
  run = Run.on(config, tokenizer.vocabulary, jax.devices()[:1])
  with Checkpoints(workdir) as checkpoints:
    params, _ = checkpoints.restore_params(run.abstract_state.params)
  loss = weight = 0.0
  for batch in iterate(pipeline.heldout_batches(config, store, run.vocab)):
    sums = run.eval_step(params, run.to_device(change(batch)))
    found = sums[run.objective.token_term]
    loss, weight = loss + found["loss"], weight + found["weight"]
  return float(loss / weight)
