"""The encoder of ELECTRA-base, trained as a plain masked language model:
replaced-token detection, which makes it ELECTRA, is not here yet.

  python -m mlm_jax train --config=configs/electra_base.py \
    --workdir=gs://.../electra_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

Clark et al. 2020, "ELECTRA": the shape of BERT-base, 766,000 steps of 256 rows
of 512 at 2e-4. What differs is what electra_small lists; the generator that is
missing has a third of the width.

110M parameters. GLUE (dev) of the published model: 85.1; expect BERT-base's.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.optim.peak_lr = 2e-4

  config.train.steps = 766_000
  return config
