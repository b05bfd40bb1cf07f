"""NomicBERT (nomic-bert-2048): Nussbaum et al. 2024, "Nomic Embed".

  python -m mlm_jax train --config=nomic_bert \
    --workdir=gs://.../nomic_bert \
    --config.data.corpus=tfds:wikipedia/20230601.en

The masked language model under nomic-embed-text: bert_base with SwiGLU, RoPE of
base 1,000, no biases but those of norms, and no dropout. 100,000 steps of 4,096
rows of 2,048 (the released model's card), 30% masked, 5e-4 after a warm-up of
6%, beta_2 0.98, no clipping.

What differs: SentencePiece BPE replaces WordPiece, with 30,528 pieces, where
theirs has 30,522 and pads the table. And the dense layer before the logits and
the logits have biases, as in Hugging Face's model; the authors' code has none.

137M parameters. GLUE of the published model, as its card has it: 84.
"""

from mlm_jax import families, recipes


def get_config(variant=""):
  config = recipes.base("bert_base", "single")
  config.model.update(families.NOMIC_BERT)
  config.model.max_positions = 2048

  config.data.vocab_size = 30_528
  config.data.seq_len = 2048

  config.corruption.mask_rate = 0.3

  config.optim.peak_lr = 5e-4
  config.optim.warmup_steps = 6_000
  config.optim.b2 = 0.98
  config.optim.weight_decay = 1e-5
  config.optim.clip_norm = 0.0

  config.train.steps = 100_000
  config.train.batch_size = 4_096
  return recipes.vary(config, variant, tiny=recipes.tiny)
