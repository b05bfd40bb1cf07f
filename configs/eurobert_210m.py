"""EuroBERT-210M: Boizard et al. 2025, "EuroBERT".

  python -m mlm_jax train --config=eurobert_210m \
    --workdir=gs://.../eurobert_210m \
    --config.data.corpus='parquet:gs://.../multilingual/*.parquet'

The size of BERT-base, pre-norm, with SwiGLU, RMSNorm, RoPE, untied output
embeddings and no dense layer before the logits. All masked tokens are replaced
by [MASK], in batches of 9.4M tokens:

  pretraining  4.8T tokens at length 2,048, 1e-4 after 2,000 steps of warm-up,
               50% masked
  annealing    200B tokens at length 8,192, from 1e-4 to 0, 10% masked, RoPE of
               base 250,000, as in the released models

Betas, epsilon, weight decay, clipping, the first RoPE base of 10,000 and the
linear decay are the defaults of the authors' trainer.

What differs: SentencePiece BPE replaces Llama 3's tokenizer, with as many
pieces. Nothing here samples languages: the corpus must come mixed and shuffled,
as the tokenizer is trained on its first data.tokenizer_sample_mb, and is the
same in both phases. And the tokens of both phases, those of a step, the mask
rates and the warm-up have not been checked against the paper's text; those of
annealing are what the first phase leaves of its 5T.

310M parameters, 212M without the output embeddings, which the paper does not
count. No expected score: its evaluations are not ours.
"""

from mlm_jax import config as config_lib
from mlm_jax import families, recipes


def get_config(variant=""):
  config = config_lib.default()
  config.model.update(families.EUROBERT)
  config.model.max_positions = 8192

  config.data.vocab_size = 128_256
  config.data.lowercase = False
  config.data.seq_len = 2048

  config.corruption.mask_rate = 0.5
  config.corruption.mask_share = 1.0
  config.corruption.random_share = 0.0

  config.optim.warmup_steps = 2_000
  config.optim.schedule = "constant"
  config.optim.b2 = 0.95
  config.optim.eps = 1e-5
  config.optim.weight_decay = 0.1

  config.train.update(steps=0, tokens=4_800_000_000_000)
  config.train.batch_size = 4_608
  return recipes.vary(config, variant, tiny=recipes.tiny, single=recipes.single)


def get_phases(variant=""):
  if variant:
    return {}
  return {
    "pretraining": {"train.tokens": 4_800_000_000_000},
    "annealing": {
      "train.tokens": 200_000_000_000,
      "train.batch_size": 1_152,
      "data.seq_len": 8192,
      "model.rope_theta": 250_000.0,
      "corruption.mask_rate": 0.1,
      "optim.schedule": "linear",
      "optim.warmup_steps": 0,
    },
  }
