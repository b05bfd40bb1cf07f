"""Each objective's FLOPs formula against a count of its traced train step."""

import numpy as np
import pytest

from mlm_jax.data.corruption import batch_contract
from mlm_jax.models.attention import AttentionMask
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.objectives import bind
from mlm_jax.tools import flop_count

DECODER = {"model.num_decoder_layers": 2, "objective.name": "seq2seq"}
OBJECTIVES = {
  "mlm": {},
  "span_boundary": {
    "corruption.kind": "spans",
    "objective.span_boundary": True,
  },
  "sentence_pairs": {
    "corruption.sentence_pairs": "sop",
    "data.packing": "single",
  },
  "rtd": {"objective.name": "rtd", "objective.generator_share": 0.5},
  "causal_lm": {
    "objective.name": "causal_lm",
    "corruption.kind": "next_token",
  },
  "prefix_lm": {"objective.name": "causal_lm", "corruption.kind": "prefix"},
  "mixture": {
    "objective.name": "mixture",
    "corruption.next_token_share": 0.25,
  },
  "t5": {
    **DECODER,
    "corruption.kind": "span_corruption",
    "data.num_sentinels": 50,
    "model.position_kind": "relative",
  },
  "bart": {**DECODER, "corruption.kind": "bart"},
  "mass": {**DECODER, "corruption.kind": "mass"},
  "cmlm": {
    **DECODER,
    "objective.name": "cmlm",
    "corruption.kind": "cmlm",
  },
}
MODELS = {
  "bert": {},
  "llama": {
    "model.position_kind": "rope",
    "model.glu": True,
    "model.num_kv_heads": 2,
    "model.tie_embeddings": False,
  },
  "albert": {"model.embedding_width": 64, "model.share_layers": True},
  "gpt": {"model.head_dense": "none", "model.position_kind": "alibi"},
}
CASES = [("mlm", model) for model in MODELS] + [
  *[(name, "bert") for name in OBJECTIVES if name != "mlm"],
  ("rtd", "albert"),
  ("bart", "llama"),
]
SIZES = {
  "model.width": 128,
  "model.mlp_width": 256,
  "model.max_positions": 256,
  "data.vocab_size": 1000,
  "data.seq_len": 256,
  "train.batch_size": 4,
}


@pytest.mark.slow
@pytest.mark.parametrize("microbatches", [1, 2])
@pytest.mark.parametrize(("objective", "model"), CASES)
def test_the_formula_is_the_count(
  objective, model, microbatches, make_config, make_run
):
  config = make_config(
    **SIZES,
    **OBJECTIVES[objective],
    **MODELS[model],
    **{"train.microbatches": microbatches},
  )
  run = make_run(config)
  traced = run.trace_train_step(batch_contract(config).spec())
  counted = flop_count.count(traced.jaxpr).all
  tokens = config.train.batch_size * config.data.seq_len
  assert run.objective.flops_per_token * tokens == pytest.approx(
    counted, rel=0.02
  )


@pytest.mark.parametrize("window", [0, 6])
def test_attention_within_documents_is_what_masks_allow(
  window, make_config, vocab
):
  """Token by token, of two encoders as well."""
  local = {"model.window": window, "model.global_every": 2} if window else {}
  keys = {"model.position_kind": "rope", **local}
  config = make_config(**SIZES | keys | {"data.vocab_size": 300})
  rows = batch_contract(config).random(vocab, 0)["input_ids"]
  segments = np.asarray(segments_and_positions(rows, vocab)[0])
  missing = 0.0
  for layer in range(config.model.num_layers):
    is_local = config.model.is_local(layer)
    sees = AttentionMask(segments, window=window * is_local).visible_BLM
    pairs = np.sum(sees * (segments > 0)[:, :, None])
    keys = min(256, window + 1) if is_local else 256
    missing += keys - pairs / np.count_nonzero(segments)
  objective = bind(config, vocab)
  found = objective.flops_per_token - objective.flops_per_token_within(rows)
  assert found == pytest.approx(3 * 4 * config.model.width * missing)
  assert objective.flops_per_token_within(rows) > 0
