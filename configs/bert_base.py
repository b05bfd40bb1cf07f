"""BERT-base, uncased: Devlin et al. 2019, without next-sentence prediction.

  python -m mlm_jax train --config=configs/bert_base.py --workdir=gs://.../base \
    --config.data.corpus=tfds:wikipedia/20230601.en

Every number is the paper's (sections 3.1 and A.2): 12 layers of 768, 15% masked
80/10/10, Adam at 1e-4 with 10,000 steps of warm-up and linear decay over a
million steps of 256 rows, dropout 0.1. Four things differ. There is no
next-sentence prediction. SentencePiece BPE stands in for WordPiece. Rows are 512 tokens of packed documents from the first
step on, where the paper has 128 for the first 90%. And attention probabilities
have no dropout, which fused attention kernels lack.

110M parameters. GLUE (dev) of the published model: 84.7.
"""

from mlm_jax import config as config_lib


def get_config():
  # The defaults of mlm_jax/config/ are this recipe.
  return config_lib.default()
