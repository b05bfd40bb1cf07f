"""ModernBERT-base: Warner et al. 2024, "Smarter, Better, Faster, Longer".

  python -m mlm_jax train --config=modernbert_base \
    --workdir=gs://.../modernbert_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

The paper's three phases (appendix A, table 3), 30% masked, with StableAdamW and
a weight decay of 1e-5 a step. Two layers of three attend to a window of 128
tokens.

  pretraining        1.719T tokens, length 1,024, batches of 768 to 4,608 rows
                     over the first 50B, 8e-4 after 3B of warm-up
  context_extension  250B tokens, length 8,192, 72 rows, 3e-4, RoPE of the
                     global layers from base 10,000 to 160,000
  decay              50B tokens, from 3e-4 to 0 by 1 - sqrt

The released model is the average of the three best checkpoints of the decay
phase and the last:

  python -m mlm_jax average_checkpoints --workdir=gs://.../modernbert_average \
    --from=gs://.../modernbert_base:best3 --from=gs://.../modernbert_base

What differs: the corpora of the phases are not public; here all have
data.corpus, unless --config.phases.PHASE.data.corpus gives another. The batch
grows in 5 steps, where the paper's grows row by row. SentencePiece BPE replaces
OLMo's BPE, with as many pieces as the paper's table has rows.

modernbert_base:single is the first phase alone. modernbert_base:tiny ends near
3.8 nats a token held out; predicting by token frequency alone costs 5.4.

149,655,232 parameters. GLUE (dev) of the published model: 88.4.
"""

from mlm_jax import config as config_lib
from mlm_jax import families, recipes


def get_config(variant=""):
  config = config_lib.default()
  config.model.update(families.MODERNBERT, num_layers=22, mlp_width=1152)
  config.model.max_positions = 8192
  config.model.scale_residual_init = True

  config.data.vocab_size = 50_368
  config.data.lowercase = False
  config.data.seq_len = 1024

  config.corruption.mask_rate = 0.3

  config.optim.peak_lr = 8e-4
  config.optim.update(warmup_steps=0, warmup_tokens=3_000_000_000)
  config.optim.name = "stable_adamw"
  config.optim.schedule = "constant"
  config.optim.b2 = 0.98
  config.optim.weight_decay = 1e-5
  config.optim.weight_decay_times = "relative_rate"
  config.optim.clip_norm = 0.0

  config.train.update(steps=0, tokens=1_719_000_000_000)
  config.train.batch_size = 4_608
  config.train.initial_batch_size = 768
  config.train.batch_warmup_tokens = 50_000_000_000
  return recipes.vary(config, variant, tiny=recipes.tiny, single=recipes.single)


def get_phases(variant=""):
  if variant:
    return {}
  return {
    "pretraining": {"train.tokens": 1_719_000_000_000},
    "context_extension": {
      "train.tokens": 250_000_000_000,
      "train.batch_size": 72,
      "train.initial_batch_size": 0,
      "data.seq_len": 8192,
      "model.rope_theta": 160_000.0,
      "optim.peak_lr": 3e-4,
      "optim.warmup_tokens": 0,
    },
    "decay": {
      "train.tokens": 50_000_000_000,
      "optim.schedule": "one_minus_sqrt",
      "train.keep_best": 3,
    },
  }
