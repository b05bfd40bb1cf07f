"""`corruption.*`: from rows to batches."""

import dataclasses
from typing import Literal

from mlm_jax import registry
from mlm_jax.config.checks import check_range, check_types
from mlm_jax.errors import require, unknown

NOISES = (
  *("token_masking", "token_deletion", "text_infilling"),
  *("sentence_permutation", "document_rotation"),
)


@dataclasses.dataclass(frozen=True)
class CorruptionConfig:
  # Of encoders, what is hidden: single tokens, whole words, spans of words, or
  # any number of tokens, all numbers equally likely (Mask-Predict).
  # Of causal language models, only what comes next, in a document or past a
  # prefix of it.
  # Of encoder-decoders: spans, each behind a sentinel (T5); `noises` (BART); one
  # fragment of each document (MASS); or `noises`, and of what the decoder says
  # any number of tokens (Mask-Predict).
  kind: str = "token_masking"
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
  # The mean length of the spans of span_corruption, in tokens, and of
  # text_infilling, in words.
  mean_span: float = 3.0
  # Of bart and cmlm: one or several of token_masking,
  # token_deletion, text_infilling, sentence_permutation and document_rotation,
  # separated by commas.
  noises: str = "text_infilling,sentence_permutation"
  # Rows of one document each are cut in two, and the model is also asked whether
  # the second half follows the first or is another document's (nsp, BERT), or
  # whether they stand in order (sop, ALBERT).
  sentence_pairs: Literal["none", "nsp", "sop"] = "none"
  # The shares of rows that hide nothing but what comes next, as next_token and
  # prefix do, among rows with masks: one model learns both.
  next_token_share: float = 0.0
  prefix_share: float = 0.0

  def __post_init__(self):
    check_types(self, "corruption")
    check_range(
      *(self, "corruption"),
      above_0=("max_span", "mean_span"),
      from_0=("masks_per_row",),
      from_0_below_1=(
        *("final_mask_rate", "span_p", "next_token_share", "prefix_share"),
      ),
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
      self.mean_span <= 100,
      f"corruption.mean_span must be 100 at most, not {self.mean_span}",
    )
    shares = (self.mask_share, self.random_share)
    require(
      min(shares) >= 0 and sum(shares) <= 1 + 1e-6,
      "corruption.mask_share and corruption.random_share must be 0 or more and "
      f"at most 1 together, not {shares[0]} and {shares[1]}",
    )
    for name in self.noise_names:
      if name not in NOISES:
        raise unknown("corruption.noises", name, NOISES)
    registry.CORRUPTIONS[self.kind](self).check_keys()

  @property
  def noise_names(self) -> list[str]:
    return [name.strip() for name in self.noises.split(",")]

  @property
  def causal_row_share(self) -> float:
    """The share of rows that predict the next token, not masks."""
    return self.next_token_share + self.prefix_share
