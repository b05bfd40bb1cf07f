"""ELECTRA-base: replaced token detection with the shape of BERT-base.

  python -m mlm_jax train --config=configs/electra_base.py \
    --workdir=gs://.../electra_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

Clark et al. 2020, "ELECTRA": the shape of BERT-base, 766,000 steps of 256 rows
of 512 at 2e-4, a generator of a third of the width. What differs from the paper
is what electra_small lists.

110M parameters beside the generator's. GLUE (dev) of the published model: 85.1.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.corruption.mask_share = 0.85
  config.corruption.random_share = 0.0

  config.objective.name = "rtd"
  config.objective.generator_share = 1 / 3

  config.optim.peak_lr = 2e-4

  config.train.steps = 766_000
  return config
