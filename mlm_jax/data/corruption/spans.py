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
  compact,
  cumulative_sum,
  gather,
)
from mlm_jax.data.corruption.primitives.spans import sample_spans, select
from mlm_jax.data.corruption.primitives.words import find_words
from mlm_jax.data.host_tensorflow import tf

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
    masked_BL = select(spans, words, count_B1)
    masked_BL |= _cut_word(spans, masked_BL, count_B1)
    index_BL = tf.broadcast_to(tf.range(length), tf.shape(rows_BL))
    positions_BP = compact(index_BL, masked_BL, slots, 0)
    num_masked_B1 = tf.reduce_sum(
      tf.cast(masked_BL, tf.int32), axis=1, keepdims=True
    )
    # All tokens of a span are replaced in the same way.
    number_BP = gather(spans.number_BL, positions_BP)
    bits_BS = random.bits(spans.starts_BS.shape[1] + 1)
    action_bits_BP = gather(bits_BS, number_BP)
    return Targets(
      positions_BP, tf.range(slots) < num_masked_B1, action_bits_BP
    )


def _cut_word(spans, masked_BL, count_B1):
  """Returns the first tokens of the first span, in rows without any target.

  There a word is longer than all that may be masked.
  """
  is_first_BL = spans.number_BL == 1
  rank_BL = cumulative_sum(is_first_BL)
  is_empty_B1 = ~tf.reduce_any(masked_BL, axis=1, keepdims=True)
  return is_empty_B1 & is_first_BL & (rank_BL <= count_B1)


def span_law(keys: CorruptionConfig) -> np.ndarray:
  """Returns the probabilities of spans of 0, 1, 2, ... max_span words."""
  lengths = np.arange(1, keys.max_span + 1)
  if keys.span_law == "geometric":
    law = (1 - keys.span_p) ** lengths
  else:
    law = 1 / lengths
  return np.concatenate([[0], law / law.sum()])
