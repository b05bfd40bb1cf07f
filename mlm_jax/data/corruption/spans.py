"""Spans of words are masked (SpanBERT, Joshi et al. 2020)."""

from mlm_jax.data.corruption.base import Corruption


class Spans(Corruption):
  task = "fill_masks"
  supports_sentence_pairs = True
  masks_spans = True
