"""Text with noise, which a decoder restores (BART, Lewis et al. 2020)."""

from __future__ import annotations

from mlm_jax.batch import select
from mlm_jax.data.corruption.noised import NoisedInput
from mlm_jax.data.corruption.primitives.targets import decoder_batch


class Bart(NoisedInput):
  """Adds `corruption.noises` to the text; a decoder generates the original."""

  task = "generate"
  fields = select("input_ids", "decoder_ids", "target_ids", "target_weights")

  def corrupt(self, rows_BL, rate, vocab, random):
    noised_BL = self.add_noise(rows_BL, rate, vocab, random)
    return decoder_batch(noised_BL, rows_BL, vocab)
