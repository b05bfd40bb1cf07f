"""A conditional masked language model: Ghazvininejad et al. 2019,
"Mask-Predict".

  python -m mlm_jax train --config=cmlm_base \
    --workdir=gs://.../cmlm_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

The decoder attends to both sides, and any number of its tokens are masked, all
numbers equally likely; it predicts them given a text that the encoder has read,
whose start token also predicts the target's length. `mask_predict` decodes in a
few passes; each masks the least certain tokens again and predicts them:

  python -m mlm_jax mask_predict --workdir=DIR --passes=10 --text="..."

The paper translates. Here the encoder reads a text with masked spans, like
BART's, and the decoder reconstructs it: that needs no pairs. The size and the
optimizer are the paper's, six encoder and six decoder layers of width 512.

What differs, beside the task: no label smoothing, a linear decay instead of 1 /
sqrt(step), and 300,000 steps of 256 rows of 512 tokens. Attention probabilities
have no dropout.

cmlm_base:tiny ends near 2.1 nats a target token held out: most tokens are to be
copied from the encoder's input. It gets 97% of the lengths right.

60M parameters.
"""

from mlm_jax import config as config_lib
from mlm_jax import families, recipes


def get_config(variant=""):
  config = config_lib.default()
  config.model.update(families.CMLM, num_layers=6, num_decoder_layers=6)
  config.model.update(width=512, num_heads=8, mlp_width=2048)

  config.objective.name = "cmlm"
  config.corruption.kind = "cmlm"
  config.corruption.noises = "text_infilling"
  config.corruption.mask_rate = 0.3
  config.corruption.mask_share = 1.0
  config.corruption.random_share = 0.0

  config.optim.peak_lr = 5e-4
  config.optim.b2 = 0.98

  config.train.steps = 300_000
  # Logits at all positions are large: a part of the batch at a time.
  config.train.microbatches = 4
  return recipes.vary(config, variant, tiny=recipes.tiny)
