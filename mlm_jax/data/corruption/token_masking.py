"""Single tokens are masked (Devlin et al. 2019)."""

from mlm_jax.data.corruption.base import Corruption


class TokenMasking(Corruption):
  task = "fill_masks"
  supports_sentence_pairs = True
