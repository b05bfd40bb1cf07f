"""`corruption.*`: from rows to batches."""

import dataclasses
from typing import Literal

from mlm_jax import registry
from mlm_jax.config.key import check_keys, key
from mlm_jax.errors import require

_NOISES = "mlm_jax.data.corruption.primitives.noises"
# In the order in which they are added to a text.
NOISES = registry.Table(
  "corruption.noises",
  {
    "sentence_permutation": f"{_NOISES}:permute_sentences",
    "document_rotation": f"{_NOISES}:rotate_documents",
    "token_masking": f"{_NOISES}:mask_tokens",
    "token_deletion": f"{_NOISES}:delete_tokens",
    "text_infilling": f"{_NOISES}:infill_text",
  },
)


@dataclasses.dataclass(frozen=True)
class CorruptionConfig:
  """What is masked or otherwise corrupted, and what is to be predicted."""

  # fmt: off
  kind: str = key("token_masking",
    "How rows are corrupted. For an encoder: token_masking, whole_words, "
    "spans, or uniform_mask_rate (a rate drawn uniformly for each document). "
    "For a causal language model: next_token, or prefix (the next token, after "
    "a prefix of each document). For an encoder-decoder: span_corruption (each "
    "span replaced by a sentinel, T5), bart (the corruptions in noises), mass "
    "(one span of each document), or cmlm (any number of the decoder's tokens, "
    "Mask-Predict).",
    scope="data", choices=registry.CORRUPTIONS)
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
  word_boundaries: str = key("spaces",
    "Where words begin: spaces, icu, jieba, or the path of a word list. With "
    "spaces, each piece of a script without them is a word; the others segment "
    "the text of the rows (extras icu, jieba), by a list with one word a line "
    "into the longest that there are. For whole words and spans of words.",
    scope="data")
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
    "document_rotation, in any order, for bart and cmlm.",
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
    shares = (self.mask_share, self.random_share)
    require(
      sum(shares) <= 1 + 1e-6,
      "corruption.mask_share and corruption.random_share must be at most 1 "
      f"together, not {shares[0]} and {shares[1]}",
    )
    for name in self.noise_names:
      NOISES.check(name)
    registry.CORRUPTIONS[self.kind](self).check_keys()

  @property
  def noise_names(self) -> list[str]:
    return [name.strip() for name in self.noises.split(",")]

  @property
  def causal_row_share(self) -> float:
    """The share of rows that predict the next token, not masks."""
    return self.next_token_share + self.prefix_share
