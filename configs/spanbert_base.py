"""SpanBERT-base: SpanBERT-large with the shape of BERT-base.

  python -m mlm_jax train --config=configs/spanbert_base.py \
    --workdir=gs://.../spanbert_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

Joshi et al. 2020, "SpanBERT", as spanbert_large explains it: the hyperparameters
are those that the paper gives for the large one.

108M parameters beside the boundary's head.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.lowercase = False
  config.data.vocab_size = 28_996

  config.corruption.kind = "spans"
  config.objective.span_boundary = True

  config.optim.eps = 1e-8
  config.optim.weight_decay = 0.1

  config.train.steps = 2_400_000
  return config
