"""NeoBERT: Le Breton et al. 2025, "NeoBERT: A Next-Generation BERT".

  python -m mlm_jax train --config=neobert \
    --workdir=gs://.../neobert \
    --config.data.corpus=tfds:wikipedia/20230601.en

The first of the paper's two phases: a million steps of 2,048 rows of 1,024 at
6e-4, warm-up over 2,000, 20% masked, all of them replaced by [MASK]. 28 layers
of width 768, pre-norm, SwiGLU (2,048 wide, two thirds of 3,072), RMSNorm, RoPE;
the output embeddings are not tied, with a bias, and there is no dense layer
before the logits, as in the authors' code.

What differs: the cosine ends at 10% of the peak with the last step, where the
paper's does after 90% of the steps. Weights start from a truncated normal,
where the authors' code draws them uniformly from -0.02 to 0.02. SentencePiece
BPE replaces WordPiece. The 50,000 steps at length 4,096 are not here.

245M parameters. GLUE (dev) of the published model: 89.0.
"""

from mlm_jax import config as config_lib
from mlm_jax import families, recipes


def get_config(variant=""):
  config = config_lib.default()
  config.model.update(families.NEOBERT, num_layers=28, mlp_width=2048)
  config.model.max_positions = 1024

  config.data.seq_len = 1024

  config.corruption.mask_rate = 0.2
  config.corruption.mask_share = 1.0
  config.corruption.random_share = 0.0

  config.optim.peak_lr = 6e-4
  config.optim.warmup_steps = 2_000
  config.optim.schedule = "cosine"
  config.optim.final_lr_share = 0.1
  config.optim.b2 = 0.95
  config.optim.eps = 1e-8
  config.optim.weight_decay = 0.1

  config.train.batch_size = 2_048
  return recipes.vary(config, variant, tiny=recipes.tiny)
