"""SpanBERT-base: SpanBERT with the shape of BERT-base.

  python -m mlm_jax train --config=spanbert_base \
    --workdir=gs://.../spanbert_base \
    --config.data.corpus=tfds:wikipedia/20230601.en

Joshi et al. 2020, "SpanBERT": BERT, cased, on single sequences of 512, 2.4
million steps of 256 rows at 1e-4; 15% masked in spans of 1 to 10 words,
geometric with p = 0.2 (3.8 words in the mean); the span boundary objective
beside masked language modelling; no next-sentence prediction. The paper gives
these hyper-parameters for the large model.

What differs: rows are packed, and documents do not attend to each other.
SentencePiece BPE replaces WordPiece; attention probabilities have no dropout.

spanbert_base:tiny trains for 2,000 steps. It ends near 5.3 nats a masked token
held out; predicting by token frequency alone costs 5.4.

108M parameters beside the span boundary head.
"""

from mlm_jax import recipes


def get_config(variant=""):
  config = recipes.base("bert_base", "single")

  # As in fairseq, which it was trained with.
  config.model.init_distribution = "normal"

  config.data.lowercase = False
  config.data.vocab_size = 28_996

  config.corruption.kind = "spans"
  config.objective.span_boundary = True

  config.optim.eps = 1e-8
  config.optim.weight_decay = 0.1

  config.train.steps = 2_400_000
  return recipes.vary(config, variant, tiny=recipes.tiny)
