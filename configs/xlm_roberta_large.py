"""XLM-R large: Conneau et al. 2020, "Unsupervised Cross-lingual Representation
Learning at Scale".

  python -m mlm_jax train --config=xlm_roberta_large \
    --workdir=gs://.../xlm_roberta_large \
    --config.data.corpus='jsonl:gs://.../cc100/*.jsonl.zst'

xlm_roberta_base with 24 layers of width 1,024, 16 heads, and RoBERTa-large's
learning rate and warm-up.

560M parameters. No expected score: XNLI is not among our evaluations.
"""

from mlm_jax import families, recipes


def get_config(variant=""):
  config = recipes.base("xlm_roberta_base")
  config.model.update(families.LARGE)
  config.optim.update(recipes.base("roberta_large").optim)
  return recipes.vary(config, variant, tiny=recipes.tiny)
