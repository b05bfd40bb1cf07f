"""ALBERT-xxlarge: Lan et al. 2020, "ALBERT: A Lite BERT".

  python -m mlm_jax train --config=albert_xxlarge \
    --workdir=gs://.../albert_xxlarge \
    --config.data.corpus=tfds:wikipedia/20230601.en

albert_base with one block of width 4,096 and 64 heads, applied 12 times,
without dropout, as released. 125,000 steps are the paper's comparison of sizes;
the released model was trained for 1.5 million.

206M parameters; 223M with the pooler of the released model, whose mean of SQuAD
1.1 and 2.0, MNLI, SST-2 and RACE is 91.0.
"""

from mlm_jax import families, recipes


def get_config(variant=""):
  config = recipes.base("albert_base")
  config.model.update(width=4096, num_heads=64, mlp_width=16_384)
  config.model.update(families.NO_DROPOUT)
  return recipes.vary(config, variant, tiny=recipes.tiny)
