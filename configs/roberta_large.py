"""RoBERTa-large: Liu et al. 2019, "RoBERTa".

  python -m mlm_jax train --config=roberta_large \
    --workdir=gs://.../roberta_large \
    --config.data.corpus=tfds:wikipedia/20230601.en

roberta_base with 24 layers of width 1,024 and 16 heads; 4e-4 after 30,000
warm-up steps.

355M parameters. GLUE (dev) of the published model: 88.9.
"""

from mlm_jax import families, recipes


def get_config(variant=""):
  config = recipes.base("roberta_base")
  config.model.update(families.LARGE)

  config.optim.peak_lr = 4e-4
  config.optim.warmup_steps = 30_000
  return recipes.vary(config, variant, tiny=recipes.tiny)
