"""MASS-base: Song et al. 2019, "MASS: Masked Sequence to Sequence Pre-training".

  python -m mlm_jax train --config=configs/mass_base.py \
    --workdir=gs://.../mass_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

Half of each document's tokens, one stretch, are masked (80/10/10, as BERT does), and
the decoder says them: with less to copy from what it has said itself, it has to
read. The size is that of the authors' English model, six layers and six of width
768 over BERT's vocabulary.

What differs: the paper pre-trains for translation, on rows of a sentence; rates and
steps here are BERT-base's. Attention probabilities have no dropout.

123M parameters.

To see it learn in two minutes on two cores, with 4.9 nats a token after it (word
frequencies alone reach 6.2; what is read tells little yet):

  python -m mlm_jax train --config=configs/quickstart.py --workdir=runs/mass \
    --config.objective.name=seq2seq --config.corruption.kind=mass \
    --config.corruption.mask_rate=0.5 --config.model.num_layers=2 \
    --config.model.num_decoder_layers=2 --config.train.steps=800
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.model.num_layers = 6
  config.model.num_decoder_layers = 6
  config.model.num_types = 0
  config.model.head_dense = "none"

  config.objective.name = "seq2seq"
  config.corruption.kind = "mass"
  config.corruption.mask_rate = 0.5

  # The logits of half of all places are large: a part of the batch at a time.
  config.train.microbatches = 2
  return config
