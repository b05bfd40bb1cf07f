"""ModernBERT-base: Warner et al. 2024, "Smarter, Better, Faster, Longer".

  python -m mlm_jax train --config=modernbert_base \
    --workdir=gs://.../modernbert_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

The first of the paper's three phases: 1.719T tokens at length 1,024, 4,608 rows
a step, a constant 8e-4 after 3B tokens of warm-up, 30% masked, both RoPE bases
10,000, StableAdamW with a weight decay of 1e-5 a step. Two layers of three
attend to a window of 128 tokens.

What differs: the two phases at length 8,192 are not included, so the learning
rate never decays. The batch has its full size from the start, where the paper's
grows from 768 over 50B tokens. SentencePiece BPE replaces OLMo's BPE, with as
many pieces as the paper's table has rows.

modernbert_base:tiny ends near 3.5 nats a token held out; predicting by token
frequency alone costs 5.4.

149,655,232 parameters. GLUE (dev) of the published model: 88.4.
"""

from mlm_jax import config as config_lib
from mlm_jax import families, recipes


def get_config(variant=""):
  config = config_lib.default()
  config.model.update(families.MODERNBERT, num_layers=22, mlp_width=1152)
  config.model.max_positions = 1024
  config.model.scale_residual_init = True

  config.data.vocab_size = 50_368
  config.data.lowercase = False
  config.data.seq_len = 1024

  config.corruption.mask_rate = 0.3

  config.optim.peak_lr = 8e-4
  config.optim.warmup_steps = 636
  config.optim.name = "stable_adamw"
  config.optim.schedule = "constant"
  config.optim.b2 = 0.98
  config.optim.weight_decay = 1e-5
  config.optim.weight_decay_times = "relative_rate"
  config.optim.clip_norm = 0.0

  config.train.steps = 364_304
  config.train.batch_size = 4_608
  return recipes.vary(config, variant, tiny=recipes.tiny)
