"""The next token is predicted (Radford et al. 2018)."""

from mlm_jax.data.corruption.base import Corruption


class NextToken(Corruption):
  task = "predict_next"
  is_causal = True
