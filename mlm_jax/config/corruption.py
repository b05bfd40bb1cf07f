"""`corruption.*`: from rows to batches."""

import dataclasses
import math
from typing import Literal

from mlm_jax.config.key import check_keys, key
from mlm_jax.errors import require, unknown

# What an encoder is to fill in, what is to come, and what a decoder is to say.
MASKING = ("token_masking", "whole_words", "spans", "uniform_masking")
CONTINUING = ("next_token", "prefix")
REWRITING = ("span_corruption", "denoising", "fragment", "conditional_masking")
NOISES = (
  *("token_masking", "token_deletion", "text_infilling"),
  *("sentence_permutation", "document_rotation"),
)


@dataclasses.dataclass(frozen=True)
class CorruptionConfig:
  # fmt: off
  kind: Literal[(*MASKING, *CONTINUING, *REWRITING)] = key("token_masking",
    "How rows are corrupted. For an encoder: token_masking, whole_words, "
    "spans, or uniform_masking (a mask rate drawn uniformly for each row). "
    "For a causal language model: next_token, or prefix (the next token, after "
    "a prefix of each document). For an encoder-decoder: span_corruption (each "
    "span replaced by a sentinel, T5), denoising (the corruptions in noises, "
    "BART), fragment (one span of each document, MASS), or conditional_masking "
    "(any number of the decoder's tokens, Mask-Predict).",
    scope="data")
  mask_rate: float = key(0.15,
    "Fraction of a row's maskable tokens that is predicted.",
    scope="data", above=0, below=1)
  final_mask_rate: float = key(0.0,
    "Mask rate at the end of training. It moves there linearly from mask_rate; "
    "0 keeps mask_rate.",
    scope="schedule", at_least=0, below=1)
  masks_per_row: int = key(0,
    "Number of predicted tokens per row, instead of a rate. 0 uses mask_rate.",
    scope="data", at_least=0)
  mask_share: float = key(0.8,
    "Fraction of the predicted tokens that is replaced by [MASK]. What neither "
    "mask_share nor random_share covers is left unchanged.",
    scope="data", at_least=0, at_most=1)
  random_share: float = key(0.1,
    "Fraction of the predicted tokens that is replaced by a random token.",
    scope="data", at_least=0, at_most=1)
  span_law: Literal["geometric", "inverse"] = key("geometric",
    "Distribution of span lengths, for kind=spans. A length n is as probable "
    "as (1 - span_p)^n (geometric, SpanBERT) or as 1/n (inverse, ALBERT's "
    "n-gram masking).",
    scope="data")
  span_p: float = key(0.2,
    "Parameter p of the geometric distribution of span lengths.",
    scope="data", at_least=0, below=1)
  max_span: int = key(10,
    "Maximum length of a span, in words, for kind=spans.",
    scope="data", above=0)
  mean_span: float = key(3.0,
    "Mean length of a span. It counts tokens in span_corruption, and words in "
    "text_infilling.",
    scope="data", above=0, at_most=100)
  noises: str = key("text_infilling,sentence_permutation",
    "Corruptions of BART, separated by commas. One or several of "
    "token_masking, token_deletion, text_infilling, sentence_permutation and "
    "document_rotation, in any order, for denoising and conditional_masking.",
    scope="data")
  sentence_pairs: Literal["none", "nsp", "sop"] = key("none",
    "Add a sentence-pair objective. Rows of one document are cut in two; nsp "
    "predicts whether the second half follows the first or comes from another "
    "document (BERT), sop whether the halves are in order (ALBERT).",
    scope="weights")
  next_token_share: float = key(0.0,
    "Fraction of rows that train causal language modelling instead. These are "
    "made as by kind=next_token, for objective.name=mixture.",
    scope="data", at_least=0, below=1)
  prefix_share: float = key(0.0,
    "Fraction of rows that train prefix language modelling instead. These are "
    "made as by kind=prefix, for objective.name=mixture.",
    scope="data", at_least=0, below=1)
  # fmt: on

  def __post_init__(self):
    check_keys(self, "corruption.")
    require(
      not (self.masks_per_row and self.final_mask_rate),
      "corruption.masks_per_row takes a number in place of a rate: "
      "corruption.final_mask_rate must be 0",
    )
    require(
      self.kind != "span_corruption" or self.mean_span >= 1,
      "corruption.kind='span_corruption' has no empty spans: "
      f"corruption.mean_span must be 1 or more, not {self.mean_span}",
    )
    require(
      not self.masks_per_row
      or self.kind not in ("uniform_masking", "fragment", *CONTINUING),
      f"corruption.masks_per_row is of no use to corruption.kind={self.kind!r}",
    )
    require(
      self._highest_rate <= self.highest_share,
      "spans have something between any two: corruption.mask_rate must be "
      f"{self.highest_share:.2g} at most, not {self._highest_rate}",
    )
    shares = (self.mask_share, self.random_share)
    require(
      sum(shares) <= 1 + 1e-6,
      "corruption.mask_share and corruption.random_share must be at most 1 "
      f"together, not {shares[0]} and {shares[1]}",
    )
    for name in self.noise_names:
      if name not in NOISES:
        raise unknown("corruption.noises", name, NOISES)
    require(
      self.causal_share == 0 or (self.masks and self.causal_share < 1),
      "corruption.next_token_share and corruption.prefix_share leave some rows "
      f"their masks: they must be under 1 together, not {self.causal_share}, "
      f"and corruption.kind one of {', '.join(MASKING)}, not {self.kind!r}",
    )

  @property
  def noise_names(self) -> list[str]:
    return [name.strip() for name in self.noises.split(",")]

  @property
  def masks(self) -> bool:
    """Are there masks for an encoder to fill in?"""
    return self.kind in MASKING

  @property
  def highest_share(self) -> float:
    """Returns what share of a row's tokens can be hidden."""
    between = self.mean_span / (self.mean_span + 1)
    if self.kind == "span_corruption":
      return between
    if self.kind == "spans":
      return 0.5
    noisy = self.kind in ("denoising", "conditional_masking")
    if noisy and "text_infilling" in self.noise_names:
      return min(0.5, between)
    return 1.0

  @property
  def causal_share(self) -> float:
    return self.next_token_share + self.prefix_share

  @property
  def rows_ahead(self) -> int:
    """Returns how many rows past its own a batch is made of."""
    return int(self.sentence_pairs == "nsp")

  def num_hidden(self, seq_len: int) -> int:
    """Returns a multiple of 4 that no row has more hidden tokens than."""
    hidden = self.masks_per_row or self._highest_rate * seq_len
    if self.kind == "uniform_masking":
      hidden = seq_len
    return min(seq_len, 4 * math.ceil(hidden / 4))

  def num_spans(self, seq_len: int) -> int:
    """Returns how many spans a row has at most, of span_corruption."""
    return max(1, round(self.num_hidden(seq_len) / self.mean_span))

  def num_targets(self, seq_len: int) -> int:
    """Returns P, the target slots of a row, or the decoder's length."""
    if self.masks and not self.causal_share:
      return self.num_hidden(seq_len)
    if self.kind not in ("span_corruption", "fragment"):
      return seq_len
    said = self.num_hidden(seq_len)
    if self.kind == "span_corruption":
      said += self.num_spans(seq_len)
    # An eighth more, for the starts and ends of documents.
    return min(2 * seq_len, 8 * math.ceil(said * 9 / 64))

  @property
  def _highest_rate(self) -> float:
    return max(self.mask_rate, self.final_mask_rate)
