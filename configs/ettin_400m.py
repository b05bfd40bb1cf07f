"""Ettin-400M, the encoder: Weller et al. 2025, "Seq vs Seq".

  python -m mlm_jax train --config=ettin_400m \
    --workdir=gs://.../ettin_400m \
    --config.data.corpus='parquet:gs://.../mixture/*.parquet'

ettin_150m with 28 layers of width 1,024 and 16 heads, 5e-4 after 2B tokens of
warm-up, a weight decay of 1e-5 a step, and batches that grow from 48 rows over
10B tokens.

395,881,664 parameters. GLUE of the published model: 90.8.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("ettin_150m", "single")
  config.model.update(num_layers=28, width=1024, num_heads=16, mlp_width=2624)

  config.optim.peak_lr = 5e-4
  config.optim.warmup_tokens = 2_000_000_000
  config.optim.weight_decay = 1e-5

  config.train.initial_batch_size = 48
  config.train.batch_warmup_tokens = 10_000_000_000
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
  phases["decay"]["optim.peak_lr"] = 2.5e-4
  if last := phases.get("encoder") or phases.get("decoder"):
    last["train.initial_batch_size"] = 4
  return phases
