"""mmBERT-base: Marone et al. 2025, "mmBERT".

  python -m mlm_jax train --config=mmbert_base \
    --workdir=gs://.../mmbert_base \
    --config.data.sources.en.corpus='parquet:gs://.../en/*.parquet' \
    --config.data.sources.fr.corpus='parquet:gs://.../fr/*.parquet' ...

modernbert_base with a vocabulary of 256,000 pieces, beta_2 0.95 and a weight
decay of 8e-5 a step, in three phases whose mask rates fall:

  pretraining        2.3T tokens, length 1,024, batches of 48 to 4,608 rows over
                     the first 60B, 8e-4 after 3B of warm-up, 30% masked
  context_extension  600B tokens, length 8,192, 8e-4, RoPE of base 160,000 in
                     all layers, 15% masked
  decay              100B tokens, from 8e-4 to 2% of it by 1 - sqrt, 5% masked

The tokens of the first phase are what the others leave of the paper's 3T; its
README has 2.0T. Its mask rate is the paper's; the authors' file has 25%.

The released model merges three runs of the last phase, which differ in their
corpora, by average_checkpoints --method=ties --base=...; the density that they
took is not published.

The share of each language is the size of its text to the power of 0.7, 0.5 and
0.3. The phases read 60, 110 and 1,833 languages; those that a phase adds are
--config.phases.PHASE.data.sources.NAME.corpus.

What differs: the corpora, which are given as above. The batch grows in 8 steps,
where theirs grows row by row. SentencePiece BPE replaces Gemma 2's tokenizer.

mmbert_base:single is the first phase alone.

307,786,240 parameters. No expected score: its evaluations are not ours.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("modernbert_base", "single")
  config.data.vocab_size = 256_000

  config.optim.b2 = 0.95
  config.optim.eps = 1e-8
  config.optim.weight_decay = 8e-5

  config.train.tokens = 2_300_000_000_000
  config.train.initial_batch_size = 48
  config.train.batch_warmup_tokens = 60_000_000_000
  return recipes.vary(config, variant, tiny=recipes.tiny, single=recipes.single)


def get_phases(variant=""):
  if variant:
    return {}
  return {
    "pretraining": {
      "train.tokens": 2_300_000_000_000,
      "data.size_exponent": 0.7,
    },
    "context_extension": {
      "train.tokens": 600_000_000_000,
      "data.size_exponent": 0.5,
      "train.initial_batch_size": 0,
      "data.seq_len": 8192,
      "model.rope_theta": 160_000.0,
      "model.local_rope_theta": 160_000.0,
      "corruption.mask_rate": 0.15,
      "optim.warmup_tokens": 0,
    },
    "decay": {
      "train.tokens": 100_000_000_000,
      "data.size_exponent": 0.3,
      "corruption.mask_rate": 0.05,
      "optim.schedule": "one_minus_sqrt",
      "optim.final_lr_share": 0.02,
    },
  }
