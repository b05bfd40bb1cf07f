"""T5-small: Raffel et al. 2020, "Exploring the Limits of Transfer Learning".

  python -m mlm_jax train --config=t5_small \
    --workdir=gs://.../t5_small \
    --config.data.corpus=tfds:c4/en

t5_base with half of its layers and two thirds of its width.

60M parameters. GLUE average in the paper: 77.4.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("t5_base")
  config.model.update(num_layers=6, num_decoder_layers=6)
  config.model.update(width=512, num_heads=8, mlp_width=2048)
  return recipes.vary(config, variant, tiny=recipes.tiny)
