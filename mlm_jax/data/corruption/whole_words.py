"""Whole words are masked (whole-word BERT, Devlin et al. 2019)."""

from __future__ import annotations

from mlm_jax.data.corruption.mask_filling import MaskFilling
from mlm_jax.data.corruption.primitives.masks import Targets
from mlm_jax.data.corruption.primitives.words import (
  find_words,
  take_whole_words,
)


class WholeWords(MaskFilling):
  """Masks all tokens of a word, or none; words are equally likely."""

  heldout_kind = "whole_words"
  finds_words = True

  def sample(self, rows_BL, rate, vocab, random):
    length = rows_BL.shape[1]
    slots = self.num_hidden(length)
    words = find_words(rows_BL, vocab, self.keys.word_boundaries)
    keys_BW = random.sort_keys(length)
    count_B1 = self.num_masked(words.maskable_BL, rate)
    positions_BP, is_target_BP = take_whole_words(
      keys_BW, words, count_B1, slots
    )
    return Targets(positions_BP, is_target_BP, random.bits(slots))
