"""Ettin-150M, the encoder: Weller et al. 2025, "Seq vs Seq".

  python -m mlm_jax train --config=ettin_150m \
    --workdir=gs://.../ettin_150m \
    --config.data.corpus='parquet:gs://.../mixture/*.parquet'

modernbert_base, trained in batches of 4,608 rows by the authors' configuration
files, in which the learning rate falls in the last two of three phases:

  pretraining        1.7T tokens, length 1,024, batches of 72 to 4,608 rows over
                     the first 50B, 8e-4 after 3B of warm-up, 30% masked
  context_extension  250B tokens, length 7,999, from 8e-4 to half of it by
                     1 - sqrt, RoPE of base 160,000 in all layers
  decay              50B tokens, from 4e-4 to 4% of it by 1 - sqrt, 15% masked

What differs: the corpora of the phases are three; here all have data.corpus,
unless --config.phases.PHASE.data.corpus gives another. Rows are packed with
documents, theirs are not. The batch grows in 8 steps, where theirs grows row by
row. SentencePiece BPE replaces the tokenizer of ModernBERT, with as many pieces
as its table has rows.

ettin_150m:single is the first phase alone. The paper's other models are

  ettin_150m:decoder       the same phases, predicting the next token
  ettin_150m:from_decoder  the decoder, and then an encoder of it
  ettin_150m:to_decoder    the encoder, and then a decoder of it

in one command each. The last two end with a phase of 50B tokens by the other
objective, with a new optimizer state: batches from 12 rows over 10B, 3B of
warm-up to the rate of the decay, which falls to 2% in the last 10B. (The files
of four sizes leave the decoder's local RoPE base at 10,000 in its last phase;
here it is the encoder's.)

149,655,232 parameters. GLUE of the published model: 88.9.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("modernbert_base", "single")
  config.train.tokens = 1_700_000_000_000
  config.train.initial_batch_size = 72
  return recipes.vary(
    config,
    variant,
    tiny=recipes.tiny,
    single=recipes.single,
    **recipes.CROSS_OBJECTIVE,
  )


def get_phases(variant=""):
  if variant in ("tiny", "single"):
    return {}
  phases = {
    "pretraining": {"train.tokens": 1_700_000_000_000},
    "context_extension": {
      "train.tokens": 250_000_000_000,
      "train.initial_batch_size": 0,
      "data.seq_len": 7999,
      "model.rope_theta": 160_000.0,
      "model.local_rope_theta": 160_000.0,
      "optim.warmup_tokens": 0,
      "optim.schedule": "one_minus_sqrt",
      "optim.final_lr_share": 0.5,
    },
    "decay": {
      "train.tokens": 50_000_000_000,
      "corruption.mask_rate": 0.15,
      "optim.peak_lr": 4e-4,
      "optim.final_lr_share": 0.04,
    },
  }
  cross = {
    "train.tokens": 50_000_000_000,
    "train.initial_batch_size": 12,
    "train.batch_warmup_tokens": 10_000_000_000,
    "train.reset_optimizer": True,
    "optim.warmup_tokens": 3_000_000_000,
    "optim.decay_tokens": 10_000_000_000,
    "optim.schedule": "linear",
    "optim.final_lr_share": 0.02,
  }
  masked = {"objective.name": "mlm", "corruption.kind": "token_masking"}
  causal = {"objective.name": "causal_lm", "corruption.kind": "next_token"}
  if variant == "from_decoder":
    phases["encoder"] = cross | masked
  if variant == "to_decoder":
    phases["decoder"] = cross | causal
  return phases
