"""CMLM (Ghazvininejad et al. 2019)."""

from mlm_jax.data.corruption.base import Corruption


class ConditionalMasking(Corruption):
  task = "fill_decoder_masks"
