"""Whole words are masked."""

from mlm_jax.data.corruption.base import Corruption


class WholeWords(Corruption):
  task = "fill_masks"
  supports_sentence_pairs = True
