"""XLM-R base: Conneau et al. 2020, "Unsupervised Cross-lingual Representation
Learning at Scale".

  python -m mlm_jax train --config=configs/xlm_roberta_base.py \
    --workdir=gs://.../xlm_roberta_base \
    --config.data.corpus='jsonl:gs://.../cc100/*.jsonl.zst'

RoBERTa-base with 250,002 unigram pieces, on a hundred languages, for 1.5
million steps of 8,192 rows. Learning rate, warm-up and the rest of the
optimizer are RoBERTa's; we have not found the paper's own.

What differs is what roberta_base lists, but for the tokenizer, which is a
SentencePiece unigram model there too. And nothing here mixes languages, which
the paper draws by their share of the corpus to the power of 0.3: the corpus
must come mixed and shuffled, as the tokenizer is trained on the first
data.tokenizer_sample_mb of it (100 MB: raise it for a hundred languages).

278M parameters. No quality anchor: XNLI is not among our evaluations.
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.tokenizer = "unigram"
  config.data.vocab_size = 250_002
  config.data.lowercase = False

  config.model.num_types = 1
  config.model.norm_eps = 1e-5

  config.optim.peak_lr = 6e-4
  config.optim.warmup_steps = 24_000
  config.optim.b2 = 0.98
  config.optim.clip_norm = 0.0

  config.train.steps = 1_500_000
  config.train.batch_size = 8_192
  return config
