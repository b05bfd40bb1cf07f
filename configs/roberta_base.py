"""RoBERTa-base: Liu et al. 2019, "RoBERTa".

  python -m mlm_jax train --config=roberta_base \
    --workdir=gs://.../roberta_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

bert_base with one token type, on cased text, for 500,000 steps of 8,192 rows:
6e-4 after 24,000 warm-up steps, then linear decay; beta_2 0.98 and no clipping.
The paper has no next-sentence prediction either. Its corpus is 160 GB of text.

What differs: SentencePiece BPE replaces byte-level BPE, with as many pieces. In
the paper, documents that share a row attend to each other; here they do not.
Attention probabilities have no dropout, which fused attention kernels do not
support. There are 512 positions: the first two of the 514 of Hugging Face's
model belong to no token.

125M parameters. GLUE (dev) of the published model: 86.4.
"""

from mlm_jax import families, recipes


def get_config(variant=""):
  config = recipes.base("bert_base", "single")
  config.model.update(families.ROBERTA)

  config.data.vocab_size = 50_265
  config.data.lowercase = False

  config.optim.peak_lr = 6e-4
  config.optim.warmup_steps = 24_000
  config.optim.b2 = 0.98
  config.optim.clip_norm = 0.0

  config.train.steps = 500_000
  config.train.batch_size = 8_192
  return recipes.vary(config, variant, tiny=recipes.tiny)
