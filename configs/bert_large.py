"""BERT-large, uncased: Devlin et al. 2019, without next-sentence prediction.

  python -m mlm_jax train --config=configs/bert_large.py \
    --workdir=gs://.../large --config.data.corpus=tfds:wikipedia/20230601.en

The recipe of bert_base, 24 layers of 1,024 with 16 heads.

340M parameters. GLUE (dev) of the published model: 85.2.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.model.num_layers = 24
  config.model.width = 1024
  config.model.num_heads = 16
  config.model.mlp_width = 4096
  return config
