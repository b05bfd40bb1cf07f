"""T5 span corruption (Raffel et al. 2020)."""

from mlm_jax.data.corruption.base import Corruption


class SpanCorruption(Corruption):
  task = "generate"
