"""T5-base: Raffel et al. 2020, "Exploring the Limits of Transfer Learning".

  python -m mlm_jax train --config=t5_base \
    --workdir=gs://.../t5_base \
    --config.data.corpus=tfds:c4/en

An encoder and a decoder of BERT-base's size: 15% of the tokens, in spans of
mean length 3, are each replaced by a sentinel, and the decoder predicts
sentinels and spans. 2^19 steps of 128 rows of 512. The model is that of the
first release: relative positions in 32 buckets, RMSNorm before each sub-layer,
no biases, ReLU, tied embeddings. `export_hf` writes a
T5ForConditionalGeneration with equal logits.

Adafactor has the rate 1 / sqrt(step), and 0.01 for the first 10,000 steps.

What differs: rows have 512 tokens before the spans are taken out, not after, so
the encoder reads some 10% fewer.
Documents begin with a start token, and no sentinel ends the decoder's target.
Attention probabilities have no dropout.

t5_base:tiny ends near 3.6 nats a target token held out. About a quarter of the
targets are sentinels, which are easy; token frequencies alone would cost 5.4.

220M parameters. GLUE average of the paper's baseline: 83.3.
"""

from mlm_jax import config as config_lib
from mlm_jax import families, recipes


def get_config(variant=""):
  config = config_lib.default()
  config.model.update(families.T5)
  config.model.num_decoder_layers = 12

  config.data.lowercase = False
  config.data.tokenizer = "unigram"
  config.data.vocab_size = 32_100
  config.data.num_sentinels = 100

  config.objective.name = "seq2seq"
  config.corruption.kind = "span_corruption"

  config.optim.name = "adafactor"
  config.optim.schedule = "inverse_sqrt"
  config.optim.update(peak_lr=0.01, initial_lr_share=1.0)
  config.optim.weight_decay = 0.0
  config.optim.clip_norm = 0.0

  config.train.steps = 524_288
  config.train.batch_size = 128
  return recipes.vary(config, variant, tiny=recipes.tiny)
