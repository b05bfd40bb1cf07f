"""ELECTRA-small: replaced token detection at width 256.

  python -m mlm_jax train --config=electra_small \
    --workdir=gs://.../electra_small \
    --config.data.corpus=tfds:wikipedia/20230601.en

Clark et al. 2020, "ELECTRA": electra_base with 12 layers of width 256 over
embeddings of width 128, a million steps of 128 rows of 128 at 5e-4, and a
generator of a quarter of the width (the authors' repository).

14M parameters beside the generator's. GLUE (dev) of the published model: 79.9.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("electra_base")
  config.model.update(width=256, num_heads=4, mlp_width=1024)
  config.model.embedding_width = 128
  config.objective.generator_share = 0.25

  config.data.seq_len = 128

  config.optim.peak_lr = 5e-4

  config.train.steps = 1_000_000
  config.train.batch_size = 128
  return recipes.vary(config, variant, tiny=recipes.tiny)
