"""BART-base: Lewis et al. 2020, "BART: Denoising Sequence-to-Sequence ...".

  python -m mlm_jax train --config=configs/bart_base.py \
    --workdir=gs://.../bart_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

Six layers that read and six that write. 30% of tokens are hidden in spans of words
with a Poisson law of mean 3, each shown as one mask, and sentences stand in random
order; the decoder says the whole text as it was. `export_hf` writes a
BartForConditionalGeneration with equal logits. The other noises of the paper, each
alone or several:

  --config.corruption.noises=token_masking  (or token_deletion, text_infilling,
                                             sentence_permutation,
                                             document_rotation)

What differs: the paper does not tell how the base model was trained; rates and
steps are RoBERTa-base's. Attention probabilities have no dropout.

139M parameters. The paper has no GLUE for the base model; SQuAD 1.1 F1 of its
ablation, trained as BERT-base was: 90.8.

To see it learn in two minutes on two cores, with 4.1 nats a token after it (word
frequencies alone reach 6.2):

  python -m mlm_jax train --config=configs/quickstart.py --workdir=runs/bart \
    --config.objective.name=seq2seq --config.corruption.kind=bart \
    --config.model.num_layers=2 --config.model.num_decoder_layers=2 \
    --config.train.steps=600
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.lowercase = False
  config.data.vocab_size = 50_265

  config.model.num_layers = 6
  config.model.num_decoder_layers = 6
  config.model.max_positions = 1024
  config.model.norm_eps = 1e-5
  config.model.num_types = 0
  config.model.head_dense = "none"
  config.model.head_bias = False

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
  # The logits of all places are large: a part of the batch at a time.
  config.train.microbatches = 16
  return config
