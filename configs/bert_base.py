"""BERT-base, uncased: Devlin et al. 2019, without next-sentence prediction.

  python -m mlm_jax train --config=bert_base \
    --workdir=gs://.../bert_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

Every number is the paper's (sections 3.1 and A.2): 12 layers of width 768, 15%
of tokens masked 80/10/10, Adam at 1e-4 with 10,000 warm-up steps and linear
decay over a million steps of 256 rows, dropout 0.1. Rows have 128 tokens for
the first 90% of the steps, and 512 after them.

What differs: there is no next-sentence prediction. SentencePiece BPE replaces
WordPiece. Rows are packed with documents. Attention probabilities have no
dropout, which fused attention kernels do not support.

bert_base:single is one phase, of 512 tokens from the first step. bert_base:tiny
ends near 5.1 nats a token held out; predicting by token frequency alone costs
5.4.

110M parameters. GLUE (dev) of the published model: 84.7.
"""

from mlm_jax import config as config_lib
from mlm_jax import recipes


def get_config(variant=""):
  # The defaults of mlm_jax/config/ are this recipe.
  config = config_lib.default()
  return recipes.vary(config, variant, tiny=recipes.tiny, single=recipes.single)


def get_phases(variant=""):
  if variant:
    return {}
  # Of the linear decay to 0 over 990,000 steps, 100,000 are left.
  rest = 100_000 / 990_000
  return {
    "length_128": {
      "train.steps": 900_000,
      "data.seq_len": 128,
      "optim.final_lr_share": rest,
    },
    "length_512": {
      "train.steps": 100_000,
      "data.seq_len": 512,
      "optim.peak_lr": 1e-4 * rest,
      "optim.warmup_steps": 0,
      "optim.final_lr_share": 0.0,
    },
  }
