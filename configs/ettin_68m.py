"""Ettin-68M, the encoder: Weller et al. 2025, "Seq vs Seq".

  python -m mlm_jax train --config=ettin_68m \
    --workdir=gs://.../ettin_68m \
    --config.data.corpus='parquet:gs://.../mixture/*.parquet'

ettin_150m with 19 layers of width 512 and 8 heads, 3e-3 after 3B tokens of
warm-up, a weight decay of 3e-4 a step, and batches that grow from 96 rows over
75B tokens.

68,457,664 parameters. GLUE of the published model: 87.2.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("ettin_150m", "single")
  config.model.update(num_layers=19, width=512, num_heads=8, mlp_width=768)

  config.optim.peak_lr = 3e-3
  config.optim.warmup_tokens = 3_000_000_000
  config.optim.weight_decay = 3e-4

  config.train.initial_batch_size = 96
  config.train.batch_warmup_tokens = 75_000_000_000
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
  if last := phases.get("encoder") or phases.get("decoder"):
    last["train.initial_batch_size"] = 8
  return phases
