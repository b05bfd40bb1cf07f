"""Ettin-17M, the encoder: Weller et al. 2025, "Seq vs Seq".

  python -m mlm_jax train --config=ettin_17m \
    --workdir=gs://.../ettin_17m \
    --config.data.corpus='parquet:gs://.../mixture/*.parquet'

ettin_150m with 7 layers of width 256 and 4 heads, 3e-3 after 4B tokens of
warm-up, a weight decay of 3e-4 a step, and batches that grow from 144 rows over
125B tokens. In the second phase, local layers keep the RoPE base of 10,000, as
in its file; those of the other sizes have that of the global layers.

16,913,600 parameters.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("ettin_150m", "single")
  config.model.update(num_layers=7, width=256, num_heads=4, mlp_width=384)

  config.optim.peak_lr = 3e-3
  config.optim.warmup_tokens = 4_000_000_000
  config.optim.weight_decay = 3e-4

  config.train.initial_batch_size = 144
  config.train.batch_warmup_tokens = 125_000_000_000
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
  phases["context_extension"]["model.local_rope_theta"] = 10_000.0
  phases["decay"]["model.local_rope_theta"] = 160_000.0
  phases["decay"]["optim.peak_lr"] = 1.5e-3
  return phases
