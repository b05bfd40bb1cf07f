"""ALBERT-large: Lan et al. 2020, "ALBERT: A Lite BERT".

  python -m mlm_jax train --config=albert_large \
    --workdir=gs://.../albert_large \
    --config.data.corpus=tfds:wikipedia/20230601.en

albert_base with one block of width 1,024 and 16 heads, applied 24 times.

17M parameters; the paper's 18M include a pooler. The paper's mean of SQuAD 1.1
and 2.0, MNLI, SST-2 and RACE: 82.4.
"""

from mlm_jax import families, recipes


def get_config(variant=""):
  config = recipes.base("albert_base")
  config.model.update(families.LARGE)
  return recipes.vary(config, variant, tiny=recipes.tiny)
