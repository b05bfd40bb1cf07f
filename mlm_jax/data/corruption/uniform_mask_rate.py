"""A mask rate drawn uniformly for each document."""

from mlm_jax.data.corruption.base import Corruption


class UniformMaskRate(Corruption):
  task = "fill_masks"
