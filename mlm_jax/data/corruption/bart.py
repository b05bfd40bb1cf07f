"""BART denoising (Lewis et al. 2020)."""

from mlm_jax.data.corruption.base import Corruption


class Bart(Corruption):
  task = "generate"
