"""A prefix language model of BERT-base's shape, between causal and masked.

  python -m mlm_jax train --config=prefix_lm_base \
    --workdir=gs://.../prefix_lm_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

causal_base, except for a prefix of each document, of random length: every token
of the document attends to it, and nothing in it is predicted (Raffel et al.
2020).

110M parameters.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("causal_base")
  config.corruption.kind = "prefix"
  return recipes.vary(config, variant, tiny=recipes.tiny)
