"""The student of DistilBERT without its teacher: six layers of BERT-base, from
scratch.

  python -m mlm_jax train --config=distilbert_base \
    --workdir=gs://.../distilbert_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

Sanh et al. 2019, "DistilBERT": bert_base without token types, 4,096 rows a
step, 5e-4 after a warm-up of 5%, no weight decay, gradients clipped at 5 (rates
as in the authors' code).

What differs: there, the student starts as every second layer of BERT-base, also
learns from its predictions and hidden states, masks rare tokens more often, and
trains for three epochs, some 6,000 steps. Without all of that, this recipe
takes 62,500 steps, as many rows as BERT's million of 256. SentencePiece BPE
replaces WordPiece; attention probabilities have no dropout.

67M parameters. No expected score: the published models had a teacher.
"""

from mlm_jax import families, recipes


def get_config(variant=""):
  config = recipes.base("bert_base", "single")
  config.model.update(families.DISTILBERT)
  config.model.num_layers = 6

  config.optim.peak_lr = 5e-4
  config.optim.warmup_steps = 3_125
  config.optim.weight_decay = 0.0
  config.optim.clip_norm = 5.0

  config.train.steps = 62_500
  config.train.batch_size = 4_096
  return recipes.vary(config, variant, tiny=recipes.tiny)
