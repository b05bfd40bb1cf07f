"""MosaicBERT-large: Portes et al. 2023, "MosaicBERT".

  python -m mlm_jax train --config=configs/mosaicbert_large.py \
    --workdir=gs://.../mosaicbert_large \
    --config.data.corpus=tfds:c4/en

The recipe of mosaicbert_base, and what it says of differences, with 24 layers
of 1,024 and 16 heads. The peak of 2e-4 and the 286.72 million rows are those of
the script with which the authors launch their BERT-large; the released code has
no configuration of MosaicBERT-large itself.

435M parameters, 434M of them the encoder's. GLUE (dev) of the published model:
86.1.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.vocab_size = 30_528
  config.data.seq_len = 128

  config.model.num_layers = 24
  config.model.width = 1024
  config.model.num_heads = 16
  config.model.mlp_width = 4096
  config.model.glu = True
  config.model.mlp_bias = "out"
  config.model.position_kind = "alibi"

  config.corruption.mask_rate = 0.3

  config.optim.peak_lr = 2e-4
  config.optim.warmup_steps = 4_200
  config.optim.b2 = 0.98
  # The authors' 1e-5 is for each step at the peak; ours is times the rate.
  config.optim.weight_decay = 0.05
  config.optim.clip_norm = 0.0

  config.train.steps = 70_000
  config.train.batch_size = 4_096
  return config
