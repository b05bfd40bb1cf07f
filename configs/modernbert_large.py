"""ModernBERT-large: Warner et al. 2024, "Smarter, Better, Faster, Longer".

  python -m mlm_jax train --config=modernbert_large \
    --workdir=gs://.../modernbert_large \
    --config.data.corpus=tfds:wikipedia/20230601.en

modernbert_base with 28 layers of width 1,024, 16 heads, 4,928 rows a step, and
5e-4 after 2B tokens of warm-up.

What differs, beside what modernbert_base lists: the paper's model starts as
ModernBERT-base, grown by tiling its weights from the middle. `import_hf` can do
that; without it this recipe starts at random. And the paper keeps 5e-4 for 900B
tokens, then restarts from there at 5e-5 for 800B; here it stays at 5e-4.

395,881,664 parameters. GLUE (dev) of the published model: 90.4.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("modernbert_base")
  config.model.update(num_layers=28, width=1024, num_heads=16, mlp_width=2624)

  config.optim.peak_lr = 5e-4
  config.optim.warmup_steps = 396

  config.train.steps = 340_648
  config.train.batch_size = 4_928
  return recipes.vary(config, variant, tiny=recipes.tiny)
