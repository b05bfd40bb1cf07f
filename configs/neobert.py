"""NeoBERT: Le Breton et al. 2025, "NeoBERT: A Next-Generation BERT".

  python -m mlm_jax train --config=configs/neobert.py \
    --workdir=gs://.../neobert --config.data.corpus=tfds:wikipedia/20230601.en

The first of the paper's two phases: a million steps of 2,048 rows of 1,024 at
6e-4, warm-up over 2,000, 20% masked, all of them shown as [MASK]. 28 layers of
768, pre-norm, SwiGLU (2,048 wide, two thirds of 3,072), RMSNorm, RoPE; logits
from a table of their own, with a bias, and no layer before it, as in the
authors' code.

What differs: the cosine ends at 0 with the last step, where the paper's ends at
10% of the peak after 90% of the steps. Weights start from a truncated normal,
where the authors' code draws them evenly from -0.02 to 0.02. SentencePiece BPE
stands in for WordPiece. The 50,000 steps at length 4,096 are not here.

245M parameters. GLUE (dev) of the published model: 89.0.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.seq_len = 1024

  config.model.num_layers = 28
  config.model.mlp_width = 2048
  config.model.activation = "silu"
  config.model.glu = True
  config.model.norm_kind = "rms"
  config.model.norm_placement = "pre"
  config.model.norm_eps = 1e-5
  config.model.embedding_norm = False
  config.model.attention_bias = False
  config.model.mlp_bias = "none"
  config.model.head_dense = "none"
  config.model.tie_embeddings = False
  config.model.position_kind = "rope"
  config.model.max_positions = 1024
  config.model.num_types = 0
  config.model.embedding_dropout = 0.0
  config.model.attention_dropout = 0.0
  config.model.mlp_dropout = 0.0

  config.corruption.mask_rate = 0.2
  config.corruption.mask_share = 1.0
  config.corruption.random_share = 0.0

  config.optim.peak_lr = 6e-4
  config.optim.warmup_steps = 2_000
  config.optim.schedule = "cosine"
  config.optim.b2 = 0.95
  config.optim.eps = 1e-8
  config.optim.weight_decay = 0.1

  config.train.batch_size = 2_048
  return config
