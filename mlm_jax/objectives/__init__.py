"""Vectors to loss: each objective returns sums and their weights."""

from mlm_jax.objectives.causal_lm import CAUSAL_LM
from mlm_jax.objectives.mixture import MIXTURE
from mlm_jax.objectives.mlm import MLM
from mlm_jax.objectives.rtd import RTD
from mlm_jax.objectives.seq2seq import CMLM, SEQ2SEQ

OBJECTIVES = {
  "mlm": MLM,
  "mixture": MIXTURE,
  "rtd": RTD,
  "causal_lm": CAUSAL_LM,
  "seq2seq": SEQ2SEQ,
  "cmlm": CMLM,
}
