"""BERT-large, uncased: Devlin et al. 2019, without next-sentence prediction.

  python -m mlm_jax train --config=bert_large \
    --workdir=gs://.../bert_large \
    --config.data.corpus=tfds:wikipedia/20230601.en

bert_base with 24 layers of width 1,024 and 16 heads.

340M parameters. GLUE (dev) of the published model: 85.2.
"""

from mlm_jax import families, recipes


def get_config(variant=""):
  config = recipes.base("bert_base", "single")
  config.model.update(families.LARGE)
  return recipes.vary(config, variant, tiny=recipes.tiny, single=recipes.single)


def get_phases(variant=""):
  return recipes.base_phases("bert_base", variant)
