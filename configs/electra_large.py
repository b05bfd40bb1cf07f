"""ELECTRA-large: replaced token detection with the shape of BERT-large.

  python -m mlm_jax train --config=configs/electra_large.py \
    --workdir=gs://.../electra_large \
    --config.data.corpus=tfds:wikipedia/20230601.en

Clark et al. 2020, "ELECTRA": the shape of BERT-large, 400,000 steps of 2,048
rows of 512 at 2e-4, 25% masked, a generator of a quarter of the width. The
released model was trained for 1.75 million steps. What differs from the paper is
what electra_small lists.

335M parameters beside the generator's. GLUE (test) of the released model: 85.2.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.model.num_layers = 24
  config.model.width = 1024
  config.model.num_heads = 16
  config.model.mlp_width = 4096

  config.corruption.mask_rate = 0.25
  config.corruption.mask_share = 0.85
  config.corruption.random_share = 0.0

  config.objective.name = "rtd"

  config.optim.peak_lr = 2e-4

  config.train.steps = 400_000
  config.train.batch_size = 2_048
  return config
