"""MosaicBERT-large: Portes et al. 2023, "MosaicBERT".

  python -m mlm_jax train --config=mosaicbert_large \
    --workdir=gs://.../mosaicbert_large \
    --config.data.corpus=tfds:c4/en

mosaicbert_base with 24 layers of width 1,024 and 16 heads. The peak of 2e-4 and
the 286.72 million rows are those of the script with which the authors launch
their BERT-large; the released code has no configuration of MosaicBERT-large
itself.

435M parameters, 434M of them the encoder's. GLUE (dev) of the published model:
86.1.
"""

from mlm_jax import families, recipes


def get_config(variant=""):
  config = recipes.base("mosaicbert_base")
  config.model.update(families.LARGE)
  config.optim.peak_lr = 2e-4
  return recipes.vary(config, variant, tiny=recipes.tiny)
