"""SpanBERT-large: Joshi et al. 2020, "SpanBERT".

  python -m mlm_jax train --config=spanbert_large \
    --workdir=gs://.../spanbert_large \
    --config.data.corpus=tfds:wikipedia/20230601.en

spanbert_base with the shape of BERT-large, as in the paper.

334M parameters beside the span boundary head.
"""

from mlm_jax import families, recipes


def get_config(variant=""):
  config = recipes.base("spanbert_base")
  config.model.update(families.LARGE)
  return recipes.vary(config, variant, tiny=recipes.tiny)
