"""The encoder of ELECTRA-small, trained as a plain masked language model:
replaced-token detection, which makes it ELECTRA, is not here yet.

  python -m mlm_jax train --config=configs/electra_small.py \
    --workdir=gs://.../electra_small \
    --config.data.corpus=tfds:wikipedia/20230601.en

Clark et al. 2020, "ELECTRA": 12 layers of 256 over embeddings of 128, a million
steps of 128 rows of 128 at 5e-4 (the authors' repository). The paper trains a
generator, of a quarter of the width, to fill 15% of the tokens, and this
encoder to tell which ones it filled wrongly; here the encoder fills them, and
80/10/10 are BERT's. SentencePiece BPE stands in for WordPiece; attention
probabilities have no dropout.

14M parameters. GLUE (dev) of the published model: 79.9; of the paper's own
masked language model of this size: 75.1, which is what to expect here.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.seq_len = 128

  config.model.width = 256
  config.model.num_heads = 4
  config.model.mlp_width = 1024
  config.model.embedding_width = 128

  config.optim.peak_lr = 5e-4

  config.train.batch_size = 128
  return config
