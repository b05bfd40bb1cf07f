"""MASS (Song et al. 2019)."""

from mlm_jax.data.corruption.base import Corruption


class Mass(Corruption):
  task = "generate"
