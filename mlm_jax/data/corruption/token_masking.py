"""Single tokens are masked (BERT, Devlin et al. 2019)."""

from __future__ import annotations

import numpy as np

from mlm_jax.data.corruption.mask_filling import MaskFilling
from mlm_jax.data.corruption.primitives.masks import sample_tokens


class TokenMasking(MaskFilling):
  """Masks each token independently of its neighbours."""

  def sample(self, rows_BL, rate, vocab, random):
    maskable_BL = np.take(vocab.is_ordinary, rows_BL)
    count_B1 = self.num_masked(maskable_BL, rate)
    slots = self.num_hidden(rows_BL.shape[1])
    return sample_tokens(maskable_BL, count_B1, slots, random)
