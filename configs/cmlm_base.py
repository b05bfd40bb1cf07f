"""A conditional masked language model: Ghazvininejad et al. 2019, "Mask-Predict".

  python -m mlm_jax train --config=configs/cmlm_base.py \
    --workdir=gs://.../cmlm_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

The decoder sees both sides, and any number of its tokens as masks, all numbers
equally likely; what it fills in, it fills in for a text that the encoder has read,
whose start token also tells how long the answer is. `mask_predict` decodes in a few
passes, in each of which the least sure tokens are masked again:

  python -m mlm_jax mask_predict --workdir=DIR --passes=10 --text="..."

The paper translates. Here, the encoder reads a text with spans hidden, as BART's,
and the decoder mends it: that needs no pairs. The size and the optimizer are the paper's,
six layers and six of width 512.

What differs, beside the task: no label smoothing, a linear decay, not 1 / sqrt(step),
and 300,000 steps of 256 rows of 512 tokens. Attention probabilities have no dropout.

60M parameters.

To see it learn in two minutes on two cores (what the encoder shows is to be copied,
so that losses are low; word frequencies alone reach 6.2):

  python -m mlm_jax train --config=configs/quickstart.py --workdir=runs/cmlm \
    --config.objective.name=cmlm --config.corruption.kind=cmlm \
    --config.model.num_layers=2 --config.model.num_decoder_layers=2 \
    --config.model.position_kind=learned --config.data.seq_len=32 \
    --config.corruption.noises=token_masking --config.train.batch_size=32 \
    --config.train.steps=800
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.model.num_layers = 6
  config.model.num_decoder_layers = 6
  config.model.width = 512
  config.model.num_heads = 8
  config.model.mlp_width = 2048
  config.model.activation = "relu"
  config.model.num_types = 0
  config.model.head_dense = "none"

  config.objective.name = "cmlm"
  config.corruption.kind = "cmlm"
  config.corruption.noises = "text_infilling"
  config.corruption.mask_rate = 0.3
  config.corruption.mask_share = 1.0
  config.corruption.random_share = 0.0

  config.optim.peak_lr = 5e-4
  config.optim.b2 = 0.98

  config.train.steps = 300_000
  # The logits of all places are large: a part of the batch at a time.
  config.train.microbatches = 4
  return config
