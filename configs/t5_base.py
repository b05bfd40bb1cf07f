"""T5-base: Raffel et al. 2020, "Exploring the Limits of Transfer Learning".

  python -m mlm_jax train --config=configs/t5_base.py \
    --workdir=gs://.../t5_base \
    --config.data.corpus=tfds:c4/en

A BERT-base that reads and one that writes: 15% of tokens are hidden in spans of 3
in the mean, each behind a sentinel, and the decoder says sentinels and spans. 2^19
steps of 128 rows of 512. The model is the first release's: relative positions in
32 buckets, RMSNorm before each part, no biases, ReLU, one table for tokens and
logits; `export_hf` writes a T5ForConditionalGeneration with equal logits.

What differs: AdamW with a linear decay stands in for Adafactor and 1 / sqrt(step),
at a rate that is common for this width, and untested. Rows have 512 tokens before
the spans are taken out, not after, so the encoder sees some 10% fewer. Documents
begin with a start token, and no sentinel ends what the decoder says. Attention
probabilities have no dropout.

220M parameters. GLUE average of the paper's baseline: 83.3.

To see it learn in two minutes on two cores, with 4.5 nats a token after it. A fifth
of what is said are sentinels and ends, which are easy, and so far the rest is told
by what was said before: of another row's encoding it would be 4.53. A decoder needs
longer to find its way in what is read.

  python -m mlm_jax train --config=configs/quickstart.py --workdir=runs/t5 \
    --config.objective.name=seq2seq --config.corruption.kind=span_corruption \
    --config.corruption.mask_rate=0.15 --config.model.num_layers=2 \
    --config.model.num_decoder_layers=2 --config.data.num_sentinels=8 \
    --config.train.steps=800
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.lowercase = False
  config.data.tokenizer = "unigram"
  config.data.vocab_size = 32_100
  config.data.num_sentinels = 100

  config.model.num_decoder_layers = 12
  config.model.activation = "relu"
  config.model.norm_kind = "rms"
  config.model.norm_placement = "pre"
  config.model.norm_eps = 1e-6
  config.model.embedding_norm = False
  config.model.attention_bias = False
  config.model.mlp_bias = "none"
  config.model.position_kind = "relative"
  config.model.num_types = 0
  config.model.head_dense = "none"
  config.model.head_bias = False
  config.model.scale_logits = True
  config.model.init_stddev = 0.0

  config.objective.name = "seq2seq"
  config.corruption.kind = "span_corruption"

  config.optim.peak_lr = 5e-4
  config.train.steps = 524_288
  config.train.batch_size = 128
  return config
