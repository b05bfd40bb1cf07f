"""Masks for a decoder to fill in (CMLM, Ghazvininejad et al. 2019)."""

from __future__ import annotations

import numpy as np

from mlm_jax.batch import select
from mlm_jax.data.corruption.noised import NoisedInput
from mlm_jax.data.corruption.primitives.documents import find_documents
from mlm_jax.data.corruption.primitives.masks import sample_uniform_rate


class ConditionalMasking(NoisedInput):
  """Adds noise to the encoder's text, and masks to the decoder's.

  Any number of a document's tokens is masked. The decoder predicts them; the
  encoder predicts at the start of each document how many tokens it has.
  """

  task = "fill_decoder_masks"
  fields = select(
    "input_ids",
    "decoder_ids",
    "target_ids",
    "target_weights",
    "target_lengths",
  )

  def corrupt(self, rows_BL, rate, vocab, random):
    noised_BL = self.add_noise(rows_BL, rate, vocab, random)
    docs = find_documents(rows_BL, vocab)
    masked_BL = sample_uniform_rate(rows_BL, docs, vocab, random)
    # Noise keeps every start.
    lengths_BL = find_documents(noised_BL, vocab).gather(docs.sizes_BM)
    is_start_BL = noised_BL == vocab.start_id
    return {
      "input_ids": noised_BL,
      "decoder_ids": np.where(masked_BL, vocab.mask_id, rows_BL),
      "target_ids": rows_BL,
      "target_weights": masked_BL.astype(np.float32),
      "target_lengths": np.where(is_start_BL, lengths_BL, 0),
    }
