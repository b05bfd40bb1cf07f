"""ALBERT-xlarge: Lan et al. 2020, "ALBERT: A Lite BERT".

  python -m mlm_jax train --config=configs/albert_xlarge.py \
    --workdir=gs://.../albert_xlarge \
    --config.data.corpus=tfds:wikipedia/20230601.en

The recipe of albert_base, and what it says of differences: one block of 2,048,
applied 24 times. It has 32 heads, the paper's one for each 64 of the width; the
released model has 16, for as many parameters: set model.num_heads to compare.
The learning rate is a guess, untested.

55M parameters; the paper's 60M have a pooler. Mean of the paper's SQuAD 1.1 and
2.0, MNLI, SST-2 and RACE: 85.5.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.tokenizer = "unigram"
  config.data.vocab_size = 30_000
  config.data.packing = "single"

  config.model.num_layers = 24
  config.model.width = 2048
  config.model.num_heads = 32
  config.model.mlp_width = 8192
  config.model.embedding_width = 128
  config.model.share_layers = True
  config.model.activation = "gelu_tanh"

  config.corruption.kind = "spans"
  config.corruption.span_law = "inverse"
  config.corruption.max_span = 3
  config.corruption.sentence_pairs = "sop"

  config.optim.peak_lr = 2e-4
  config.optim.warmup_steps = 3_125

  config.train.steps = 125_000
  config.train.batch_size = 4_096
  return config
