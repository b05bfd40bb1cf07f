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

What differs: the corpora of the phases are three; here all have data.corpus.
Rows are packed with documents, theirs are not. The batch grows in 8 steps,
where theirs grows row by row. SentencePiece BPE replaces the tokenizer of
ModernBERT, with as many pieces as its table has rows.

ettin_150m:single is the first phase alone.

149,655,232 parameters. GLUE of the published model: 88.9.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("modernbert_base", "single")
  config.train.tokens = 1_700_000_000_000
  config.train.initial_batch_size = 72
  return recipes.vary(config, variant, tiny=recipes.tiny, single=recipes.single)


def get_phases(variant=""):
  if variant:
    return {}
  return {
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
