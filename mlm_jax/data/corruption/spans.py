"""Spans of words are masked (SpanBERT, Joshi et al. 2020).

With corruption.span_law='inverse', ALBERT's n-grams (Lan et al. 2020). T5's
spans, which a decoder generates, are in span_corruption.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlm_jax.data.corruption.mask_filling import MaskFilling
from mlm_jax.data.corruption.primitives.masks import Targets
from mlm_jax.data.corruption.primitives.row_ops import (
  count,
  gather,
  true_positions,
)
from mlm_jax.data.corruption.primitives.spans import sample_spans, select
from mlm_jax.data.corruption.primitives.words import find_words

if TYPE_CHECKING:
  from mlm_jax.config import CorruptionConfig


class Spans(MaskFilling):
  """Masks spans of words, with an unmasked word between any two."""

  masks_spans = True
  finds_words = True
  heldout_kind = "whole_words"

  @property
  def max_mask_rate(self) -> float:
    return 0.5

  def sample(self, rows_BL, rate, vocab, random):
    length = rows_BL.shape[1]
    slots = self.num_hidden(length)
    words = find_words(rows_BL, vocab, self.keys.word_boundaries)
    spans = sample_spans(words, slots, span_law(self.keys), random)
    count_B1 = self.num_masked(words.maskable_BL, rate)
    span_BL = select(spans, words, count_B1)
    # Where a word is longer than all that may be masked, it is cut.
    for row in np.flatnonzero(~span_BL.any(axis=1)):
      in_word_L = words.word_BL[row] == spans.starts_BS[row, 0]
      span_BL[row, np.flatnonzero(in_word_L)[: count_B1[row, 0]]] = 1
    positions_BP = true_positions(span_BL > 0, slots)
    is_target_BP = np.arange(slots) < count(span_BL > 0)
    # All tokens of a span are replaced in the same way.
    number_BP = gather(span_BL, positions_BP)
    bits_BS = random.bits(spans.starts_BS.shape[1] + 1)
    return Targets(positions_BP, is_target_BP, gather(bits_BS, number_BP))


def span_law(keys: CorruptionConfig) -> np.ndarray:
  """Returns the probabilities of spans of 0, 1, 2, ... max_span words."""
  lengths = np.arange(1, keys.max_span + 1)
  if keys.span_law == "geometric":
    law = (1 - keys.span_p) ** lengths
  else:
    law = 1 / lengths
  return np.concatenate([[0], law / law.sum()])
