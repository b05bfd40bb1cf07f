"""EuroBERT-2.1B: Boizard et al. 2025, "EuroBERT".

  python -m mlm_jax train --config=eurobert_2_1b \
    --workdir=gs://.../eurobert_2_1b \
    --config.data.corpus='parquet:gs://.../multilingual/*.parquet'

eurobert_610m with 32 layers of width 2,304. Weights and optimizer state are
sharded over all devices.

2.4B parameters, 2.1B without the output embeddings, which the paper does not
count. No expected score: its evaluations are not ours.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("eurobert_610m", "single")
  config.model.update(num_layers=32, width=2304, mlp_width=6144)

  config.mesh.data = 1
  config.mesh.fsdp = -1
  return recipes.vary(config, variant, tiny=recipes.tiny, single=recipes.single)


def get_phases(variant=""):
  return recipes.base_phases("eurobert_610m", variant)
