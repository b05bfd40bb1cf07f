"""ALBERT-xxlarge: Lan et al. 2020, "ALBERT: A Lite BERT".

  python -m mlm_jax train --config=configs/albert_xxlarge.py \
    --workdir=gs://.../albert_xxlarge \
    --config.data.corpus=tfds:wikipedia/20230601.en

The recipe of albert_base, and what it says of differences: one block of 4,096
with 64 heads, applied 12 times, without dropout, as released. The learning rate
is a guess, untested. 125,000 steps are the paper's comparison of sizes; the
released model was trained for 1.5 million.

206M parameters; 223M with the pooler of the released model, whose mean of SQuAD
1.1 and 2.0, MNLI, SST-2 and RACE is 91.0.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.tokenizer = "unigram"
  config.data.vocab_size = 30_000
  config.data.packing = "single"

  config.model.width = 4096
  config.model.num_heads = 64
  config.model.mlp_width = 16_384
  config.model.embedding_width = 128
  config.model.share_layers = True
  config.model.activation = "gelu_tanh"
  config.model.embedding_dropout = 0.0
  config.model.attention_dropout = 0.0
  config.model.mlp_dropout = 0.0

  config.corruption.kind = "spans"
  config.corruption.span_law = "inverse"
  config.corruption.max_span = 3
  config.corruption.sentence_pairs = "sop"

  config.optim.peak_lr = 2e-4
  config.optim.warmup_steps = 3_125

  config.train.steps = 125_000
  config.train.batch_size = 4_096
  return config
