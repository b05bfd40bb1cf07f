"""The student of DistilBERT, without its teacher: six layers of BERT-base,
trained from scratch as a plain masked language model.

  python -m mlm_jax train --config=configs/distilbert_base.py \
    --workdir=gs://.../distilbert_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

Sanh et al. 2019, "DistilBERT": no types, 4,096 rows a step, 5e-4 after a
warm-up of 5%, no weight decay, gradients clipped at 5 (rates as in the authors'
code). There, the student starts as every second layer of BERT-base, learns from
its predictions and hidden vectors beside the masked tokens, of which rare ones
are masked more often, and is done after three epochs, some 6,000 steps. Without
all of that this takes 62,500 steps, as many rows as BERT's million of 256.
SentencePiece BPE stands in for WordPiece; attention probabilities have no
dropout.

67M parameters. No anchor: what is published has had a teacher.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.model.num_layers = 6
  config.model.num_types = 0

  config.optim.peak_lr = 5e-4
  config.optim.warmup_steps = 3_125
  config.optim.weight_decay = 0.0
  config.optim.clip_norm = 5.0

  config.train.steps = 62_500
  config.train.batch_size = 4_096
  return config
