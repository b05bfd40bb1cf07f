"""The encoder of ELECTRA-large, trained as a plain masked language model:
replaced-token detection, which makes it ELECTRA, is not here yet.

  python -m mlm_jax train --config=configs/electra_large.py \
    --workdir=gs://.../electra_large \
    --config.data.corpus=tfds:wikipedia/20230601.en

Clark et al. 2020, "ELECTRA": the shape of BERT-large, 400,000 steps of 2,048
rows of 512 at 2e-4, 25% masked. The released model was trained for 1.75 million
steps. What differs is what electra_small lists; the generator that is missing
has a quarter of the width.

335M parameters. GLUE (test) of the released model: 85.2.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.model.num_layers = 24
  config.model.width = 1024
  config.model.num_heads = 16
  config.model.mlp_width = 4096

  config.corruption.mask_rate = 0.25

  config.optim.peak_lr = 2e-4

  config.train.steps = 400_000
  config.train.batch_size = 2_048
  return config
