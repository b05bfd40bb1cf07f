"""T5-small: T5-base with half of its layers and two thirds of its width.

  python -m mlm_jax train --config=configs/t5_small.py \
    --workdir=gs://.../t5_small \
    --config.data.corpus=tfds:c4/en

Raffel et al. 2020, as t5_base explains it; on two cores, see there.

60M parameters. GLUE average in the paper: 77.4.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.lowercase = False
  config.data.tokenizer = "unigram"
  config.data.vocab_size = 32_100
  config.data.num_sentinels = 100

  config.model.num_layers = 6
  config.model.num_decoder_layers = 6
  config.model.width = 512
  config.model.num_heads = 8
  config.model.mlp_width = 2048
  config.model.activation = "relu"
  config.model.norm_kind = "rms"
  config.model.norm_placement = "pre"
  config.model.norm_eps = 1e-6
  config.model.embedding_norm = False
  config.model.attention_bias = False
  config.model.mlp_bias = "none"
  config.model.position_kind = "relative"
  config.model.num_types = 0
  config.model.head_dense = "none"
  config.model.head_bias = False
  config.model.scale_logits = True
  config.model.init_stddev = 0.0

  config.objective.name = "seq2seq"
  config.corruption.kind = "span_corruption"

  config.optim.peak_lr = 1e-3
  config.train.steps = 524_288
  config.train.batch_size = 128
  return config
