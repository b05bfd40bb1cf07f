"""RoBERTa-large: Liu et al. 2019, "RoBERTa".

  python -m mlm_jax train --config=configs/roberta_large.py \
    --workdir=gs://.../roberta_large \
    --config.data.corpus=tfds:wikipedia/20230601.en

The recipe of roberta_base, and what it says of differences, with 24 layers of
1,024 and 16 heads; 4e-4 after 30,000 steps of warm-up.

355M parameters. GLUE (dev) of the published model: 88.9.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.vocab_size = 50_265
  config.data.lowercase = False

  config.model.num_layers = 24
  config.model.width = 1024
  config.model.num_heads = 16
  config.model.mlp_width = 4096
  config.model.num_types = 1
  config.model.norm_eps = 1e-5

  config.optim.peak_lr = 4e-4
  config.optim.warmup_steps = 30_000
  config.optim.b2 = 0.98
  config.optim.clip_norm = 0.0

  config.train.steps = 500_000
  config.train.batch_size = 8_192
  return config
