"""XLM-R large: Conneau et al. 2020, "Unsupervised Cross-lingual Representation
Learning at Scale".

  python -m mlm_jax train --config=configs/xlm_roberta_large.py \
    --workdir=gs://.../xlm_roberta_large \
    --config.data.corpus='jsonl:gs://.../cc100/*.jsonl.zst'

The recipe of xlm_roberta_base, and what it says of differences, with 24 layers
of 1,024, 16 heads, and RoBERTa-large's learning rate and warm-up.

560M parameters. No quality anchor: XNLI is not among our evaluations.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.tokenizer = "unigram"
  config.data.vocab_size = 250_002
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

  config.train.steps = 1_500_000
  config.train.batch_size = 8_192
  return config
