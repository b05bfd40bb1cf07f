"""EuroBERT-610M: Boizard et al. 2025, "EuroBERT".

  python -m mlm_jax train --config=eurobert_610m \
    --workdir=gs://.../eurobert_610m \
    --config.data.corpus='parquet:gs://.../multilingual/*.parquet'

eurobert_210m with 26 layers of width 1,152 and 18 heads in
groups of three, which share keys and values.

756M parameters, 608M without the output embeddings, which the paper does not
count. No expected score: its evaluations are not ours.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("eurobert_210m", "single")
  config.model.update(num_layers=26, width=1152, num_heads=18, mlp_width=4096)
  config.model.num_kv_heads = 6
  return recipes.vary(config, variant, tiny=recipes.tiny, single=recipes.single)


def get_phases(variant=""):
  return recipes.base_phases("eurobert_210m", variant)
