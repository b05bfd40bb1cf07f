"""Corruptions whose encoder reads text with `corruption.noises`."""

from __future__ import annotations

import numpy as np

from mlm_jax.config.corruption import NOISES
from mlm_jax.data.corruption.base import Corruption
from mlm_jax.data.corruption.primitives.random import RowRandom
from mlm_jax.vocabulary import Vocabulary


class NoisedInput(Corruption):
  """Base class of bart and cmlm."""

  @property
  def finds_words(self) -> bool:
    return "text_infilling" in self.keys.noise_names

  @property
  def max_mask_rate(self) -> float:
    if "text_infilling" not in self.keys.noise_names:
      return 1.0
    return min(0.5, self.keys.mean_span / (self.keys.mean_span + 1))

  def add_noise(
    self,
    rows_BL: np.ndarray,
    rate: float,
    vocab: Vocabulary,
    random: RowRandom,
  ) -> np.ndarray:
    """Returns the rows with the noises that the config names.

    They are added in the order of `NOISES`, whatever the order of the names.
    """
    for name, noise in NOISES.items():
      if name in self.keys.noise_names:
        rows_BL = noise(rows_BL, rate, self, vocab, random)
    return rows_BL
