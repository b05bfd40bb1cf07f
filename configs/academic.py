"""24h BERT: Izsak et al. 2021, "How to Train BERT with an Academic Budget".

  python -m mlm_jax train --config=academic --workdir=gs://.../academic \
    --config.data.corpus=tfds:wikipedia/20230601.en

BERT-large with layers normalised first, trained for 24 hours on 8 devices,
whatever they are: the learning rate follows the clock, to 1e-3 within 6% of the
time and linearly to 0. Length 128, batches of 4,096 rows, 15% of tokens masked
80/10/10, no next-sentence prediction; AdamW without clipping.

What differs: the corpus lacks the BookCorpus. SentencePiece BPE replaces
WordPiece. Attention probabilities have no dropout.

335,174,458 parameters. GLUE (test) of the published model: 77.9, of BERT-large
77.2 there.
"""

from mlm_jax import config as config_lib
from mlm_jax import families, recipes


def get_config(variant=""):
  config = config_lib.default()
  config.model.update(families.LARGE, norm_placement="pre")
  config.model.embedding_norm = False
  config.model.init_distribution = "normal"

  config.data.seq_len = 128

  config.optim.peak_lr = 1e-3
  config.optim.update(warmup_steps=0, warmup_hours=24 * 0.06)
  config.optim.b2 = 0.98
  config.optim.clip_norm = 0.0

  config.train.update(steps=0, hours=24.0)
  config.train.batch_size = 4_096
  config.train.microbatches = 16
  return recipes.vary(config, variant, tiny=recipes.tiny)
