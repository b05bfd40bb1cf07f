"""`data.*` and `corruption.*`: from a corpus to batches."""

import dataclasses
import math
from typing import Literal

from mlm_jax.config.checks import check_range, check_types
from mlm_jax.errors import require


@dataclasses.dataclass(frozen=True)
class DataConfig:
  # tfds:NAME[/CONFIG][:SPLIT], text:GLOB, jsonl:GLOB or parquet:GLOB; several
  # globs are separated by commas; files may end in .gz or .zst.
  corpus: str = ""
  # The field that holds the text, where examples have named fields.
  text_field: str = "text"
  # Where a document of a text file ends: at a blank line, at the end of the
  # file, or before a WikiText " = Title = " line.
  document_boundary: Literal["blank_line", "file", "wikitext"] = "blank_line"
  # The share of documents, picked by a hash of their text, never trained on.
  heldout_fraction: float = 0.01
  # "unigram" or "bpe" trains a SentencePiece model on the corpus; anything else
  # is the path of a .model or a tokenizer.json, or what was imported.
  tokenizer: str = "bpe"
  vocab_size: int = 30_522
  lowercase: bool = True
  # At most this much text, from the start of the corpus, trains the tokenizer.
  tokenizer_sample_mb: int = 100
  seq_len: int = 512
  # best_fit keeps documents whole where they fit, concat fills rows in order,
  # single puts one document piece in a row.
  packing: Literal["best_fit", "concat", "single"] = "best_fit"
  # Where prepared rows are kept, to share them between runs; empty is
  # WORKDIR/rows.
  rows_dir: str = ""
  # Where tensorflow-datasets keeps its data; empty is its own default.
  tfds_data_dir: str = ""

  def __post_init__(self):
    check_types(self, "data")
    check_range(
      *(self, "data"),
      above_0=("tokenizer_sample_mb",),
      from_0_below_1=("heldout_fraction",),
    )
    require(self.seq_len >= 8, "data.seq_len must be at least 8")
    require(
      self.vocab_size >= 300,
      f"data.vocab_size={self.vocab_size} is too small: 256 bytes and the "
      "special tokens alone take 261",
    )


@dataclasses.dataclass(frozen=True)
class CorruptionConfig:
  # What is hidden: single tokens, whole words, or spans of words; or, of causal
  # language models, only what comes next, in a document or past a prefix of it.
  kind: Literal[
    "token_masking", "whole_words", "spans", "next_token", "prefix"
  ] = "token_masking"
  # The share of a row's maskable tokens that is predicted; it moves linearly to
  # the final one over the training, 0 leaves it.
  mask_rate: float = 0.15
  final_mask_rate: float = 0.0
  # This many targets a row in place of a share; 0 takes the share.
  masks_per_row: int = 0
  # Of the predicted tokens: the share shown as [MASK], the share shown as a
  # random token; the rest is shown unchanged.
  mask_share: float = 0.8
  random_share: float = 0.1
  # Spans of 1 to max_span words: as often as (1 - span_p)^length (SpanBERT), or
  # as 1 / length (ALBERT's n-grams).
  span_law: Literal["geometric", "inverse"] = "geometric"
  span_p: float = 0.2
  max_span: int = 10

  def __post_init__(self):
    check_types(self, "corruption")
    check_range(
      *(self, "corruption"),
      above_0=("max_span",),
      from_0=("masks_per_row",),
      from_0_below_1=("final_mask_rate", "span_p"),
    )
    require(
      0 < self.mask_rate < 1,
      f"corruption.mask_rate must be between 0 and 1, not {self.mask_rate}",
    )
    require(
      not (self.masks_per_row and self.final_mask_rate),
      "corruption.masks_per_row takes a number in place of a rate: "
      "corruption.final_mask_rate must be 0",
    )
    require(
      self.kind != "spans" or self._highest_rate <= 0.5,
      "spans have a word between any two: corruption.mask_rate must be 0.5 at "
      f"most, not {self._highest_rate}",
    )
    shares = (self.mask_share, self.random_share)
    require(
      min(shares) >= 0 and sum(shares) <= 1 + 1e-6,
      "corruption.mask_share and corruption.random_share must be 0 or more and "
      f"at most 1 together, not {shares[0]} and {shares[1]}",
    )

  @property
  def masks(self) -> bool:
    """Are there masks to be filled in?"""
    return self.kind in ("token_masking", "whole_words", "spans")

  def num_targets(self, seq_len: int) -> int:
    """Returns P, the target slots of a row: enough, of masks a multiple of 4."""
    if not self.masks:
      return seq_len
    targets = self.masks_per_row or self._highest_rate * seq_len
    return min(seq_len, 4 * math.ceil(targets / 4))

  @property
  def _highest_rate(self) -> float:
    return max(self.mask_rate, self.final_mask_rate)
