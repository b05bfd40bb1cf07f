"""Vectors to loss: each objective returns sums and their weights."""

from mlm_jax.objectives.causal_lm import CAUSAL_LM
from mlm_jax.objectives.mlm import MLM
from mlm_jax.objectives.rtd import RTD

OBJECTIVES = {"mlm": MLM, "rtd": RTD, "causal_lm": CAUSAL_LM}
