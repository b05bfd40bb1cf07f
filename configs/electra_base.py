"""ELECTRA-base: replaced token detection with the shape of BERT-base.

  python -m mlm_jax train --config=electra_base \
    --workdir=gs://.../electra_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

Clark et al. 2020, "ELECTRA": a generator of a third of the width fills in
masked tokens, and the encoder detects which tokens were replaced. 766,000 steps
of 256 rows of 512 at 2e-4; detection has a weight of 50. 15% of the tokens are
targets; 85% of the targets are masked and the rest are left unchanged (the
authors' repository).

What differs: SentencePiece BPE replaces WordPiece; attention probabilities have
no dropout; the generator never samples a special token.

electra_base:tiny has a generator of the encoder's size and a detection loss of
weight 1: a third beside a weight of 50 stays at token frequencies for 4,000
steps. Its generator ends near 4.3 nats a target held out, where predicting by
token frequency alone costs 5.4; detection only begins, and ranks a replaced
token above an original one 54 times of 100.

110M parameters beside the generator's. GLUE (dev) of the published model: 85.1.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("bert_base", "single")

  config.objective.name = "rtd"
  config.objective.generator_share = 1 / 3

  config.corruption.mask_share = 0.85
  config.corruption.random_share = 0.0

  config.optim.peak_lr = 2e-4

  config.train.steps = 766_000
  return recipes.vary(config, variant, tiny=recipes.tiny)
