"""Ettin-1B, the encoder: Weller et al. 2025, "Seq vs Seq".

  python -m mlm_jax train --config=ettin_1b \
    --workdir=gs://.../ettin_1b \
    --config.data.corpus='parquet:gs://.../mixture/*.parquet'

ettin_150m with 28 layers of width 1,792 and 28 heads, 5e-4 after 2B tokens of
warm-up, a weight decay of 5e-5 a step, and batches that grow from 24 rows over
3B tokens. The last two phases have a third of the tokens, as in their files.

1,031,314,112 parameters.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("ettin_150m", "single")
  config.model.update(num_layers=28, width=1792, num_heads=28, mlp_width=3840)

  config.optim.peak_lr = 5e-4
  config.optim.warmup_tokens = 2_000_000_000
  config.optim.weight_decay = 5e-5

  config.train.initial_batch_size = 24
  config.train.batch_warmup_tokens = 3_000_000_000
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
  phases["context_extension"]["train.tokens"] = 83_333_000_000
  phases["decay"]["train.tokens"] = 16_666_666_667
  phases["decay"]["optim.peak_lr"] = 2.5e-4
  if last := phases.get("encoder") or phases.get("decoder"):
    last.update(
      {
        "train.initial_batch_size": 2,
        "train.tokens": 16_666_666_667,
        "optim.warmup_tokens": 1_000_000_000,
        "optim.decay_tokens": 3_333_000_000,
      }
    )
  return phases
