"""ALBERT-xlarge: Lan et al. 2020, "ALBERT: A Lite BERT".

  python -m mlm_jax train --config=albert_xlarge \
    --workdir=gs://.../albert_xlarge \
    --config.data.corpus=tfds:wikipedia/20230601.en

albert_base with one block of width 2,048, applied 24 times. It has 32 heads,
one for each 64 of the width, as in the paper; the released model has 16, for as
many parameters: set model.num_heads to compare.

55M parameters; the paper's 60M include a pooler. The paper's mean of SQuAD 1.1
and 2.0, MNLI, SST-2 and RACE: 85.5.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("albert_base")
  config.model.update(num_layers=24, width=2048, num_heads=32, mlp_width=8192)
  return recipes.vary(config, variant, tiny=recipes.tiny)
