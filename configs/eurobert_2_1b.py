"""EuroBERT-2.1B: Boizard et al. 2025, "EuroBERT".

  python -m mlm_jax train --config=configs/eurobert_2_1b.py \
    --workdir=gs://.../eurobert_2_1b \
    --config.data.corpus='parquet:gs://.../multilingual/*.parquet'

The recipe of eurobert_210m, and what it says of differences, with 32 layers of
2,304 and 18 heads, three of which share keys and values. Weights and moments
are split over all devices.

2.4B parameters, 2.1B without the output table, which the paper leaves out. No
quality anchor: its evaluations are not ours.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.vocab_size = 128_256
  config.data.lowercase = False
  config.data.seq_len = 2048

  config.model.num_layers = 32
  config.model.width = 2304
  config.model.num_heads = 18
  config.model.num_kv_heads = 6
  config.model.mlp_width = 6144
  config.model.activation = "silu"
  config.model.glu = True
  config.model.norm_kind = "rms"
  config.model.norm_placement = "pre"
  config.model.norm_eps = 1e-5
  config.model.embedding_norm = False
  config.model.attention_bias = False
  config.model.mlp_bias = "none"
  config.model.head_dense = "none"
  config.model.head_bias = False
  config.model.tie_embeddings = False
  config.model.position_kind = "rope"
  config.model.max_positions = 2048
  config.model.num_types = 0
  config.model.embedding_dropout = 0.0
  config.model.attention_dropout = 0.0
  config.model.mlp_dropout = 0.0

  config.corruption.mask_rate = 0.5
  config.corruption.mask_share = 1.0
  config.corruption.random_share = 0.0

  config.optim.warmup_steps = 2_000
  config.optim.b2 = 0.95
  config.optim.eps = 1e-5
  config.optim.weight_decay = 0.1

  config.train.steps = 508_626
  config.train.batch_size = 4_608

  config.mesh.data = 1
  config.mesh.fsdp = -1
  return config
