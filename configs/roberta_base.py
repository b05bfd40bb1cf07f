"""RoBERTa-base: Liu et al. 2019, "RoBERTa".

  python -m mlm_jax train --config=configs/roberta_base.py \
    --workdir=gs://.../roberta_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

BERT-base without sentence B, on cased text, for 500,000 steps of 8,192 rows:
6e-4 after 24,000 steps of warm-up, then linear decay; beta_2 0.98 and no
clipping. There is no next-sentence prediction in the paper either. Its corpus
is 160 GB of text.

Three things differ. SentencePiece BPE stands in for byte-level BPE, with as
many pieces. In the paper, documents that share a row see each other; here they
do not. And attention probabilities have no dropout, which fused attention
kernels lack. Positions are 512: the 514 of Hugging Face's model begin with two
that no token has.

125M parameters. GLUE (dev) of the published model: 86.4.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.vocab_size = 50_265
  config.data.lowercase = False

  config.model.num_types = 1
  config.model.norm_eps = 1e-5

  config.optim.peak_lr = 6e-4
  config.optim.warmup_steps = 24_000
  config.optim.b2 = 0.98
  config.optim.clip_norm = 0.0

  config.train.steps = 500_000
  config.train.batch_size = 8_192
  return config
