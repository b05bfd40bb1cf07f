"""Objectives learn more of real text than the frequencies of its tokens.

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
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.training.run import Run
from mlm_jax.workdir import Workdir

pytestmark = pytest.mark.slow

# Less than this was to be had from word frequencies.
GAIN = 0.3

# Less than a decoder can say that has read another text.
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
  "train.steps": 400,
  "train.batch_size": 16,
  "train.eval_every": 400,
  "train.checkpoint_every": 400,
  "train.eval_batches": 8,
  "train.log_every": 100,
}
SINGLE = {"data.packing": "single", "train.batch_size": 24}
QUICK = {"train.steps": 200, "train.eval_every": 200}
DECODER = {"model.num_decoder_layers": 2, "objective.name": "seq2seq"}
LEARN = {
  "whole_words": {"corruption.kind": "whole_words"},
  "span_boundary": {
    "corruption.kind": "spans",
    "objective.span_boundary": True,
  },
  "nsp": {"corruption.sentence_pairs": "nsp", **SINGLE},
  "sop": {"corruption.sentence_pairs": "sop", **SINGLE},
  "mixture": {
    "objective.name": "mixture",
    "corruption.next_token_share": 0.25,
    "corruption.prefix_share": 0.25,
    **QUICK,
  },
  "rtd": {"objective.name": "rtd", "objective.generator_share": 0.5},
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
    "train.steps": 300,
    "train.eval_every": 300,
  },
  "mass": {
    "corruption.kind": "mass",
    "model.position_kind": "learned",
    **DECODER,
    **QUICK,
  },
}


@pytest.mark.parametrize("name", LEARN)
def test_heldout_loss_falls_below_the_unigram_entropy(name, recipe, tmp_path):
  values = SMALL | LEARN[name]
  arguments = [f"--config.{key}={value}" for key, value in values.items()]
  arguments += [f"--config={recipe}", f"--workdir={tmp_path}"]
  assert main(["train", *arguments]) == 0
  workdir = Workdir.at(tmp_path)
  config = workdir.load_config()
  lines = workdir.metrics.read_text().splitlines()
  last = [r for r in map(json.loads, lines) if r["split"] == "heldout"][-1]
  assert last["step"] == config.train.steps
  _, store = prepare.load(config, workdir)
  objective = registry.OBJECTIVES[config.objective.name]
  loss, _ = objective.token_loss_and_accuracy(last)
  assert loss < store.info["heldout"].unigram_entropy - GAIN
  if config.corruption.kind == "bart":
    assert loss < loss_of_another_text(workdir, config, store) - READING_GAIN


def loss_of_another_text(workdir, config, store):
  """Returns the held-out loss given the encoder input of the next row."""
  tokenizer = load(workdir.tokenizer)
  run = Run.on(config, tokenizer.vocabulary, jax.devices()[:1])
  with Checkpoints(workdir) as checkpoints:
    params, _ = checkpoints.restore_params(run.abstract_state.params)
  loss = weight = 0.0
  batches = pipeline.heldout_batches(config, store, run.vocab)
  for batch in iterate(batches):
    batch["input_ids"] = np.roll(batch["input_ids"], 1, axis=0)
    sums = run.eval_step(params, run.to_device(batch))
    found = sums[run.objective.token_term]
    loss, weight = loss + found["loss"], weight + found["weight"]
  return float(loss / weight)
