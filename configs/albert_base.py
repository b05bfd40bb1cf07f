"""ALBERT-base: Lan et al. 2020, "ALBERT: A Lite BERT".

  python -m mlm_jax train --config=albert_base \
    --workdir=gs://.../albert_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

One block of BERT-base, applied 12 times, over embeddings of width 128: 125,000
steps of 4,096 rows of 512 by LAMB at 1.76e-3, warm-up over the first 3,125 (the
authors' repository), 30,000 unigram pieces of lower-case text, as in the paper.
N-grams of up to three words are masked. A row is two segments of a document,
and sentence-order prediction asks whether they stand in order.

What differs: no row is shortened on purpose, as a tenth of the paper's are.
Attention probabilities have no dropout. Adam's moments within LAMB are
corrected for their start, as in LAMB's paper, where the authors' code does not.

albert_base:tiny trains by AdamW, since LAMB is for large batches, and for 2,000
steps with 40% masked. It ends near 5.0 nats a masked token held out, where
predicting by token frequency alone costs 5.4.

11M parameters; the paper's 12M include a pooler. The paper's mean of SQuAD 1.1
and 2.0, MNLI, SST-2 and RACE: 80.1.
"""

from mlm_jax import families, recipes


def get_config(variant=""):
  config = recipes.base("bert_base", "single")
  config.model.update(families.ALBERT, embedding_width=128)

  config.data.tokenizer = "unigram"
  config.data.vocab_size = 30_000
  config.data.packing = "single"

  config.corruption.kind = "spans"
  config.corruption.span_law = "inverse"
  config.corruption.max_span = 3
  config.corruption.sentence_pairs = "sop"

  config.optim.name = "lamb"
  config.optim.peak_lr = 1.76e-3
  config.optim.warmup_steps = 3_125

  config.train.steps = 125_000
  config.train.batch_size = 4_096
  return recipes.vary(config, variant, tiny=recipes.tiny)
