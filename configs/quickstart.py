"""A small ModernBERT of the English that every Python holds: minutes on two cores.

python -m mlm_jax train --config=configs/quickstart.py --workdir=runs/quickstart
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.corpus = "tfds:python_docs"
  config.data.heldout_fraction = 0.1
  config.data.tokenizer = "unigram"
  config.data.vocab_size = 4096
  config.data.seq_len = 64

  config.model.num_layers = 3
  config.model.width = 128
  config.model.num_heads = 4
  config.model.mlp_width = 320
  config.model.activation = "gelu_tanh"
  config.model.glu = True
  # Post-norm and learned positions stay on the plateau of word frequencies for
  # longer than this run lasts.
  config.model.norm_placement = "pre"
  config.model.position_kind = "rope"
  config.model.norm_eps = 1e-5
  config.model.norm_bias = False
  config.model.attention_bias = False
  config.model.mlp_bias = "none"
  config.model.head_dense = "no_bias"
  config.model.num_types = 0
  config.model.embedding_dropout = 0.0
  config.model.attention_dropout = 0.0
  config.model.mlp_dropout = 0.0
  # A small table tells pieces apart sooner when it starts wider.
  config.model.init_stddev = 0.05

  # More targets a row are more to learn from in a run this short: 0.2 nats
  # better after 1,000 steps than 20%.
  config.corruption.mask_rate = 0.3

  config.optim.peak_lr = 4e-3
  config.optim.warmup_steps = 300
  config.optim.b2 = 0.98

  config.train.steps = 2_400
  config.train.batch_size = 16
  config.train.log_every = 50
  config.train.eval_every = 300
  config.train.checkpoint_every = 600
  return config
