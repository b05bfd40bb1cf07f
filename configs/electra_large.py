"""ELECTRA-large: replaced token detection with the shape of BERT-large.

  python -m mlm_jax train --config=electra_large \
    --workdir=gs://.../electra_large \
    --config.data.corpus=tfds:wikipedia/20230601.en

Clark et al. 2020, "ELECTRA": electra_base with the shape of BERT-large, 400,000
steps of 2,048 rows of 512, 25% of the tokens targets, a generator of a quarter
of the width. The released model was trained for 1.75 million steps.

335M parameters beside the generator's. GLUE (test) of the released model: 85.2.
"""

from mlm_jax import families, recipes


def get_config(variant=""):
  config = recipes.base("electra_base")
  config.model.update(families.LARGE)
  config.objective.generator_share = 0.25
  config.corruption.mask_rate = 0.25

  config.train.steps = 400_000
  config.train.batch_size = 2_048
  return recipes.vary(config, variant, tiny=recipes.tiny)
