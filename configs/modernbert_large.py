"""ModernBERT-large: Warner et al. 2024, "Smarter, Better, Faster, Longer".

  python -m mlm_jax train --config=modernbert_large \
    --workdir=gs://.../modernbert_large \
    --config.data.corpus=tfds:wikipedia/20230601.en

modernbert_base with 28 layers of width 1,024 and 16 heads. Its loss stalled at
5e-4, so the paper went back to 900B tokens and on from there at 5e-5:

  pretraining        900B tokens, batches of 448 to 4,928 rows over the first
                     10B, 5e-4 after 2B of warm-up
  lower_rate         800B tokens, 5e-5, a tenth of the weight decay
  context_extension  250B tokens, length 8,192, 77 rows, 5e-5
  decay              50B tokens, 78 rows, from 5e-5 to 0 by 1 - sqrt

What differs, beside what modernbert_base lists: the paper's model starts as
ModernBERT-base, grown by tiling its weights from the middle. `import_hf` can do
that; without it this recipe starts at random.

395,881,664 parameters. GLUE (dev) of the published model: 90.4.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("modernbert_base", "single")
  config.model.update(num_layers=28, width=1024, num_heads=16, mlp_width=2624)

  config.optim.peak_lr = 5e-4
  config.optim.warmup_tokens = 2_000_000_000

  config.train.tokens = 900_000_000_000
  config.train.batch_size = 4_928
  config.train.initial_batch_size = 448
  config.train.batch_warmup_tokens = 10_000_000_000
  return recipes.vary(config, variant, tiny=recipes.tiny, single=recipes.single)


def get_phases(variant=""):
  if variant:
    return {}
  base = recipes.base_phases("modernbert_base")
  return {
    "pretraining": {"train.tokens": 900_000_000_000},
    "lower_rate": {
      "train.tokens": 800_000_000_000,
      "train.initial_batch_size": 0,
      "optim.peak_lr": 5e-5,
      "optim.warmup_tokens": 0,
      "optim.weight_decay": 1e-6,
    },
    "context_extension": base["context_extension"]
    | {"train.batch_size": 77, "optim.peak_lr": 5e-5},
    # The paper averages base's checkpoints alone.
    "decay": base["decay"] | {"train.batch_size": 78, "train.keep_best": 1},
  }
