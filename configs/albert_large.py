"""ALBERT-large: Lan et al. 2020, "ALBERT: A Lite BERT".

  python -m mlm_jax train --config=configs/albert_large.py \
    --workdir=gs://.../albert_large \
    --config.data.corpus=tfds:wikipedia/20230601.en

The recipe of albert_base, and what it says of differences: one block of 1,024
with 16 heads, applied 24 times. The learning rate is RoBERTa-large's, untested.

17M parameters; the paper's 18M have a pooler. Mean of the paper's SQuAD 1.1 and
2.0, MNLI, SST-2 and RACE: 82.4.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.tokenizer = "unigram"
  config.data.vocab_size = 30_000
  config.data.packing = "single"

  config.model.num_layers = 24
  config.model.width = 1024
  config.model.num_heads = 16
  config.model.mlp_width = 4096
  config.model.embedding_width = 128
  config.model.share_layers = True
  config.model.activation = "gelu_tanh"

  config.corruption.kind = "spans"
  config.corruption.span_law = "inverse"
  config.corruption.max_span = 3
  config.corruption.sentence_pairs = "sop"

  config.optim.peak_lr = 4e-4
  config.optim.warmup_steps = 3_125

  config.train.steps = 125_000
  config.train.batch_size = 4_096
  return config
