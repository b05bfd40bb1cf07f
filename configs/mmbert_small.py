"""mmBERT-small: Marone et al. 2025, "mmBERT".

  python -m mlm_jax train --config=mmbert_small \
    --workdir=gs://.../mmbert_small \
    --config.data.corpus='parquet:gs://.../multilingual/*.parquet'

mmbert_base at width 384 with 6 heads. By the authors' files, the first phase
has 4B tokens of warm-up and batches that grow over 100B; the later ones have
half its rate and weight decay, and the last one a linear decay to 4%.

140,897,536 parameters. No expected score: its evaluations are not ours.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("mmbert_base", "single")
  config.model.update(width=384, num_heads=6)

  config.optim.warmup_tokens = 4_000_000_000

  config.train.batch_warmup_tokens = 100_000_000_000
  return recipes.vary(config, variant, tiny=recipes.tiny, single=recipes.single)


def get_phases(variant=""):
  if variant:
    return {}
  phases = recipes.base_phases("mmbert_base")
  phases["context_extension"] |= {
    "optim.peak_lr": 4e-4,
    "optim.weight_decay": 4e-5,
  }
  phases["decay"] |= {"optim.schedule": "linear", "optim.final_lr_share": 0.04}
  return phases
