"""Spans behind sentinels, which a decoder generates (T5, Raffel et al. 2020).

SpanBERT's masked spans, which an encoder fills in, are in spans.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlm_jax.batch import select
from mlm_jax.data.corruption.base import Corruption
from mlm_jax.data.corruption.primitives.documents import find_documents
from mlm_jax.data.corruption.primitives.row_ops import (
  compact,
  cumulative_sum,
  gather,
  run_starts,
)
from mlm_jax.data.corruption.primitives.spans import (
  place,
  random_partition,
  span_numbers,
)
from mlm_jax.data.corruption.primitives.targets import (
  decoder_batch,
  decoder_length,
)
from mlm_jax.data.corruption.primitives.words import tokens_as_words
from mlm_jax.errors import require

if TYPE_CHECKING:
  from mlm_jax.config import Config


class SpanCorruption(Corruption):
  """Replaces each span by a sentinel; the decoder generates what they replace.

  The first span of a document is replaced by the first sentinel. The decoder's
  text is each sentinel, followed by the tokens of its span.
  """

  task = "generate"
  fields = select("input_ids", "decoder_ids", "target_ids", "target_weights")
  predicts_sentinels = True

  @property
  def max_mask_rate(self) -> float:
    return self.keys.mean_span / (self.keys.mean_span + 1)

  def num_spans(self, seq_len: int) -> int:
    """Returns the most spans of a row."""
    return max(1, round(self.num_hidden(seq_len) / self.keys.mean_span))

  def num_targets(self, seq_len: int) -> int:
    return decoder_length(
      self.num_hidden(seq_len) + self.num_spans(seq_len), seq_len
    )

  def check_keys(self) -> None:
    require(
      self.keys.mean_span >= 1,
      f"corruption.mean_span={self.keys.mean_span} is too short for "
      "corruption.kind='span_corruption', which has no empty spans: at least 1",
    )
    super().check_keys()

  def check(self, config: Config) -> None:
    super().check(config)
    data, spans = config.data, self.num_spans(config.data.seq_len)
    # Other tokenizers exist already; `corrupt` counts their sentinels.
    require(
      not data.trains_tokenizer or data.num_sentinels >= spans,
      f"rows of data.seq_len={data.seq_len} have up to {spans} masked spans: "
      f"data.num_sentinels={data.num_sentinels} is too few",
    )

  def corrupt(self, rows_BL, rate, vocab, random):
    """Returns the batch, as `Corruption.corrupt` does.

    Raises:
      InputError: the vocabulary has fewer sentinels than a row may have spans.
    """
    length, slots = rows_BL.shape[1], self.num_targets(rows_BL.shape[1])
    max_spans = self.num_spans(length)
    require(
      len(vocab.sentinel_ids) >= max_spans,
      f"rows of {length} tokens have up to {max_spans} masked spans, but the "
      f"tokenizer has {len(vocab.sentinel_ids)} sentinels (<extra_id_0> and so "
      "on)",
    )
    masked_BL = self._sample_spans(rows_BL, rate, vocab, random)
    first_BL = run_starts(masked_BL)
    docs = find_documents(rows_BL, vocab)
    number_BL = cumulative_sum(first_BL)
    # Numbered from each document's start on.
    before_BM = gather(number_BL, np.maximum(docs.begins_BM - 1, 0))
    number_BL -= docs.gather(before_BM)
    sentinel_BL = np.take(
      np.array(vocab.sentinel_ids, np.int32),
      np.clip(number_BL - 1, 0, max_spans - 1),
    )
    input_ids_BL = compact(
      np.where(first_BL, sentinel_BL, rows_BL),
      first_BL | ~masked_BL,
      length,
      vocab.pad_id,
    )
    # The decoder has no tokens of a document without a span, not even its end.
    decoded_BL = masked_BL | (rows_BL == vocab.start_id)
    decoded_BL |= (rows_BL == vocab.end_id) & (number_BL > 0)
    # Each token with the sentinel before it.
    flat = lambda *x_BL: np.stack(x_BL, axis=-1).reshape(-1, 2 * length)
    decoder_ids_BP = compact(
      flat(sentinel_BL, rows_BL),
      flat(first_BL, decoded_BL),
      slots,
      vocab.pad_id,
    )
    return decoder_batch(input_ids_BL, decoder_ids_BP, vocab)

  def _sample_spans(self, rows_BL, rate, vocab, random):
    """Returns bool [B, L], true for the tokens of spans.

    The masked tokens of a row are cut into as many spans as make their mean
    length `mean_span`; all partitions and all placements are equally likely. An
    unmasked token is between any two.
    """
    length = rows_BL.shape[1]
    tokens = tokens_as_words(rows_BL, vocab)
    masked_B1 = self.num_masked(tokens.maskable_BL, rate)
    mean = self.keys.mean_span
    spans_B1 = np.round(masked_B1.astype(np.float32) / mean).astype(np.int32)
    spans_B1 = np.minimum(np.maximum(spans_B1, 1), masked_B1)
    lengths_BS = random_partition(
      masked_B1,
      spans_B1,
      self.num_hidden(length),
      self.num_spans(length),
      random,
    )
    keys_BL = random.sort_keys(length)
    starts_BS, fits_BS = place(lengths_BS, tokens.count_B, keys_BL)
    number_BW = span_numbers(starts_BS, lengths_BS, fits_BS, length)
    return tokens.gather(number_BW, outside=0) > 0
