"""SpanBERT-large: spans of whole words are hidden, and told from their borders too.

  python -m mlm_jax train --config=configs/spanbert_large.py \
    --workdir=gs://.../spanbert_large \
    --config.data.corpus=tfds:wikipedia/20230601.en

Joshi et al. 2020, "SpanBERT": BERT-large, cased, on single sequences of 512,
2.4 million steps of 256 rows at 1e-4; 15% in spans of 1 to 10 words, geometric
with p = 0.2 (3.8 words in the mean); the span boundary objective beside masked
language modelling; no next-sentence prediction. Rows are packed here, and no
document sees another. SentencePiece BPE stands in for WordPiece; attention
probabilities have no dropout.

334M parameters beside the boundary's head.

To see it learn in two minutes on two cores (training losses of 5.4 nats a token,
and 6.0 from the borders; word frequencies alone reach 6.2):

  python -m mlm_jax train --config=configs/quickstart.py --workdir=runs/spans \
    --config.corruption.kind=spans --config.objective.span_boundary=True \
    --config.train.steps=1200
"""

from mlm_jax import config as config_lib


def get_config():
  config = config_lib.default()

  config.data.lowercase = False
  config.data.vocab_size = 28_996

  config.model.num_layers = 24
  config.model.width = 1024
  config.model.num_heads = 16
  config.model.mlp_width = 4096

  config.corruption.kind = "spans"
  config.objective.span_boundary = True

  config.optim.eps = 1e-8
  config.optim.weight_decay = 0.1

  config.train.steps = 2_400_000
  return config
