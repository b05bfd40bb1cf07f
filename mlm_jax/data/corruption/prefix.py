"""The next token is predicted after a prefix (Raffel et al. 2020)."""

from mlm_jax.data.corruption.base import Corruption


class Prefix(Corruption):
  task = "predict_next"
