"""A small ModernBERT of the English that every Python holds: minutes on two
cores.

  python -m mlm_jax train --config=quickstart --workdir=runs/quickstart

The held-out loss ends near 4.05 nats a token, where predicting by token
frequency alone costs 6.2.
"""

from mlm_jax import config as config_lib
from mlm_jax import families, recipes


def get_config(variant=""):
  config = config_lib.default()
  config.model.update(families.MODERNBERT)
  recipes.tiny(config)
  config.model.num_layers = 3
  # A window of 128 tokens is wider than a row.
  config.model.update(window=0, global_every=1, activation="gelu_tanh")

  config.data.vocab_size = 4096
  config.data.seq_len = 64

  # It gains 0.17 nats on AdamW, in as many steps.
  config.optim.name = "muon"
  config.optim.peak_lr = 4e-3
  config.optim.warmup_steps = 280

  config.train.steps = 2_240
  config.train.batch_size = 16
  config.train.eval_every = 280
  config.train.checkpoint_every = 560
  return recipes.vary(config, variant, tiny=recipes.tiny)
