"""Crammed BERT: Geiping and Goldstein 2023, "Cramming: Training a Language
Model on a Single GPU in One Day".

  python -m mlm_jax train --config=crammed --workdir=runs/crammed \
    --config.data.corpus='parquet:my/*.parquet'

One device and 24 hours, whatever the device: the learning rate follows the
clock. 16 layers of width 768 with GeGLU of 1,536, normalised first, no biases
and no dropout; length 128, 25% masked 80/10/10; AdamW from 2.5e-4 to 1e-3 in 18
hours and to 0 in the last 6 (the authors' configuration bert-o4).

What differs: learned positions stand where theirs are scaled sinusoids, and the
norm of the embeddings is not followed by another in the first layer. Their
batch grows with the clock to 8,192 rows at 60% of the budget; here it grows
over 4B tokens, about what an A6000 reads until then at 40% of its peak. The
text is theirs only if data.corpus is the Pile, and pieces are SentencePiece's.

119,686,656 parameters. GLUE (dev) of the published model: 80.7 in the paper;
the authors' later code gains 1 to 2 points.
"""

from mlm_jax import config as config_lib
from mlm_jax import families, recipes


def get_config(variant=""):
  config = config_lib.default()
  config.model.update(families.CRAMMED, num_layers=16, mlp_width=1536)
  config.model.max_positions = 128

  config.data.vocab_size = 32_768
  config.data.seq_len = 128

  config.corruption.mask_rate = 0.25

  config.optim.peak_lr = 1e-3
  config.optim.initial_lr_share = 0.25
  config.optim.update(warmup_steps=0, warmup_hours=18.0)
  config.optim.b2 = 0.98
  config.optim.eps = 1e-12
  config.optim.clip_norm = 0.5

  config.train.update(steps=0, hours=24.0)
  config.train.batch_size = 8_192
  config.train.initial_batch_size = 1_024
  config.train.batch_warmup_tokens = 4_000_000_000
  config.train.microbatches = 64
  return recipes.vary(config, variant, tiny=recipes.tiny)
