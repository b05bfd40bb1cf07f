"""BART-base: Lewis et al. 2020, "BART: Denoising Sequence-to-Sequence ...".

  python -m mlm_jax train --config=bart_base \
    --workdir=gs://.../bart_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

Six encoder and six decoder layers. 30% of the tokens are hidden in spans of
words, Poisson with mean 3, each replaced by one mask; sentences stand in random
order; the decoder predicts the original text. `export_hf` writes a
BartForConditionalGeneration with equal logits. The paper's other noises, each
alone or several:

  --config.corruption.noises=token_masking  (or token_deletion, text_infilling,
                                             sentence_permutation,
                                             document_rotation)

What differs: the paper does not say how the base model was trained; rates and
steps are RoBERTa-base's. Attention probabilities have no dropout.

bart_base:tiny ends near 1.8 nats a target token held out: most tokens are to be
copied from the encoder's input.

139M parameters. The paper has no GLUE for the base model; SQuAD 1.1 F1 of its
ablation, trained as BERT-base was: 90.8.
"""

from mlm_jax import config as config_lib
from mlm_jax import families, recipes


def get_config(variant=""):
  config = config_lib.default()
  config.model.update(families.BART, num_layers=6, num_decoder_layers=6)
  config.model.max_positions = 1024

  config.data.lowercase = False
  config.data.vocab_size = 50_265

  config.objective.name = "seq2seq"
  config.corruption.kind = "bart"
  config.corruption.noises = "text_infilling,sentence_permutation"
  config.corruption.mask_rate = 0.3
  config.corruption.mask_share = 1.0
  config.corruption.random_share = 0.0

  config.optim.peak_lr = 6e-4
  config.optim.warmup_steps = 24_000
  config.optim.b2 = 0.98

  config.train.steps = 500_000
  config.train.batch_size = 2_048
  # Logits at all positions are large: a part of the batch at a time.
  config.train.microbatches = 16
  return recipes.vary(config, variant, tiny=recipes.tiny)
