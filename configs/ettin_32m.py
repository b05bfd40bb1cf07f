"""Ettin-32M, the encoder: Weller et al. 2025, "Seq vs Seq".

  python -m mlm_jax train --config=ettin_32m \
    --workdir=gs://.../ettin_32m \
    --config.data.corpus='parquet:gs://.../mixture/*.parquet'

ettin_150m with 10 layers of width 384 and 6 heads, 3e-3 after 4B tokens of
warm-up, a weight decay of 3e-4 a step, and batches that grow from 128 rows over
100B tokens.

32,081,344 parameters.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("ettin_150m", "single")
  config.model.update(num_layers=10, width=384, num_heads=6, mlp_width=576)

  config.optim.peak_lr = 3e-3
  config.optim.warmup_tokens = 4_000_000_000
  config.optim.weight_decay = 3e-4

  config.train.initial_batch_size = 128
  config.train.batch_warmup_tokens = 100_000_000_000
  return recipes.vary(
    config,
    variant,
    tiny=recipes.tiny,
    single=recipes.single,
    **recipes.CROSS_OBJECTIVE,
  )


def get_phases(variant=""):
  phases = recipes.base_phases("ettin_150m", variant)
  if not phases:
    return {}
  phases["decay"]["optim.peak_lr"] = 1.5e-3
  return phases
