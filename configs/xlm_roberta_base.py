"""XLM-R base: Conneau et al. 2020, "Unsupervised Cross-lingual Representation
Learning at Scale".

  python -m mlm_jax train --config=xlm_roberta_base \
    --workdir=gs://.../xlm_roberta_base \
    --config.data.corpus='jsonl:gs://.../cc100/*.jsonl.zst'

roberta_base with 250,002 unigram pieces, on a hundred languages, for 1.5
million steps of 8,192 rows. Learning rate, warm-up and the rest of the
optimizer are RoBERTa's; we have not found the paper's own.

What differs is what roberta_base lists, except for the tokenizer, which is a
SentencePiece unigram model there too. And nothing here samples languages, which
the paper does by their share of the corpus to the power of 0.3: the corpus must
come mixed and shuffled, as the tokenizer is trained on its first
data.tokenizer_sample_mb (100 MB: raise it for a hundred languages).

278M parameters. No expected score: XNLI is not among our evaluations.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("roberta_base")

  config.data.tokenizer = "unigram"
  config.data.vocab_size = 250_002

  config.train.steps = 1_500_000
  return recipes.vary(config, variant, tiny=recipes.tiny)
