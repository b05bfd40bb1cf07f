"""MASS-base: Song et al. 2019, "MASS: Masked Sequence to Sequence
Pre-training".

  python -m mlm_jax train --config=mass_base \
    --workdir=gs://.../mass_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

Half of each document's tokens, one contiguous fragment, are masked (80/10/10,
as in BERT), and the decoder predicts them: with less to copy from its own
prefix, it has to read the encoder. The size is that of the authors' English
model, six encoder and six decoder layers of width 768 over BERT's vocabulary.

What differs: the paper pre-trains for translation, on rows of one sentence;
rates and steps here are BERT-base's. Attention probabilities have no dropout.

mass_base:tiny is near 4.4 nats a target token held out after half of its steps;
predicting by token frequency alone costs 5.4.

123M parameters.
"""

from mlm_jax import families, recipes


def get_config(variant=""):
  config = recipes.base("bert_base", "single")
  config.model.update(families.MASS, num_layers=6, num_decoder_layers=6)

  config.objective.name = "seq2seq"
  config.corruption.kind = "mass"
  config.corruption.mask_rate = 0.5

  # Logits at half of all positions are large: a part of the batch at a time.
  config.train.microbatches = 2
  return recipes.vary(config, variant, tiny=recipes.tiny)
