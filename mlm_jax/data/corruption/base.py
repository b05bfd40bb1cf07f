"""What every corruption is to the pipeline, the objectives and the commands."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from mlm_jax import registry
from mlm_jax.batch import Fields
from mlm_jax.data.corruption.primitives.random import RowRandom
from mlm_jax.data.corruption.primitives.row_ops import count
from mlm_jax.errors import InputError, require
from mlm_jax.vocabulary import Vocabulary

if TYPE_CHECKING:
  from mlm_jax.config import Config, CorruptionConfig

# What the model learns to do with a batch; each objective declares the tasks it
# trains on.
#   fill_masks: an encoder predicts the tokens at the masked positions.
#   predict_next: a causal or prefix language model predicts the next token.
#   generate: a decoder generates text from left to right.
#   fill_decoder_masks: a decoder fills in the masks of its own input.
Task = Literal["fill_masks", "predict_next", "generate", "fill_decoder_masks"]


class Corruption:
  """One kind of corruption, bound to the `corruption.*` keys.

  A subclass is registered under the value of `corruption.kind` that names it,
  in registry.py or, with `@registry.CORRUPTIONS.register("name")`, in a recipe
  file.

  Attributes:
    task: what the model learns to do with a batch.
    fields: what `corrupt` returns.
    uses_masks_per_row: whether corruption.masks_per_row may replace the rate.
    masks_spans: whether the targets are spans with an unmasked token between
      any two, as objective.span_boundary needs.
    supports_sentence_pairs: whether rows may be sentence pairs.
    is_causal: whether no token of its batches attends to later ones.
    finds_words: whether corruption.word_boundaries matters.
    predicts_sentinels: whether sentinels are among the targets; being in order,
      they are easier to predict than their frequency says.
    keys: the keys.
  """

  task: ClassVar[Task]
  fields: ClassVar[Fields]
  uses_masks_per_row: ClassVar[bool] = True
  masks_spans: ClassVar[bool] = False
  supports_sentence_pairs: ClassVar[bool] = False
  is_causal: ClassVar[bool] = False
  finds_words: ClassVar[bool] = False
  predicts_sentinels: ClassVar[bool] = False

  def __init__(self, keys: CorruptionConfig):
    self.keys = keys

  def corrupt(
    self,
    rows_BL: np.ndarray,
    rate: float,
    vocab: Vocabulary,
    random: RowRandom,
  ) -> dict[str, np.ndarray]:
    """Returns the batch.

    Args:
      rows_BL: int32 packed rows.
      rate: corruption.mask_rate, or what it has moved to.
      vocab: the special ids, and the ids that begin a word or end a sentence.
      random: random numbers of these rows.
    """
    raise NotImplementedError

  @property
  def max_mask_rate(self) -> float:
    """The largest share of a row's tokens that can be masked."""
    return 1.0

  @property
  def lookahead_rows(self) -> int:
    """The number of rows after its own that a batch is made from."""
    return int(self.keys.sentence_pairs == "nsp")

  def num_hidden(self, seq_len: int) -> int:
    """Returns the most masked tokens of a row, L or a multiple of 4."""
    hidden = self.keys.masks_per_row or self._peak_rate * seq_len
    return min(seq_len, 4 * math.ceil(hidden / 4))

  def num_targets(self, seq_len: int) -> int:
    """Returns P, the target slots of a row or the length of a decoder's."""
    return seq_len

  def num_masked(self, maskable_BL: np.ndarray, rate: float) -> np.ndarray:
    """Returns int32 [B, 1], the number of tokens of each row to mask."""
    maskable_B1 = count(maskable_BL)
    if self.keys.masks_per_row:
      return np.minimum(self.keys.masks_per_row, maskable_B1)
    return np.round(rate * maskable_B1.astype(np.float32)).astype(np.int32)

  def check_keys(self) -> None:
    """Checks the corruption.* keys against each other.

    Raises:
      InputError: this kind of corruption cannot be had with them.
    """
    keys = self.keys
    require(
      not keys.masks_per_row or self.uses_masks_per_row,
      f"corruption.masks_per_row has no effect on corruption.kind={keys.kind!r}"
      ": set it to 0",
    )
    require(
      self._peak_rate <= self.max_mask_rate,
      f"corruption.mask_rate={self._peak_rate} is too high for "
      f"corruption.kind={keys.kind!r}: spans need an unmasked token between "
      f"them, so at most {self.max_mask_rate:.2g}",
    )
    require(
      keys.word_boundaries == "spaces" or self.finds_words,
      f"corruption.word_boundaries={keys.word_boundaries!r} has no effect on "
      f"corruption.kind={keys.kind!r}, which has no words: set it to 'spaces'",
    )
    share = keys.causal_row_share
    require(
      share == 0 or (self.task == "fill_masks" and share < 1),
      "corruption.next_token_share and corruption.prefix_share must be below 1 "
      "together, as the other rows have masks for an encoder to fill in; got "
      f"{share} with corruption.kind={keys.kind!r}",
    )

  def check(self, config: Config) -> None:
    """Checks the other groups of keys against this corruption.

    Raises:
      InputError: they do not go together.
    """
    keys, length = self.keys, config.data.seq_len
    limit = self.max_mask_rate * length
    require(
      keys.masks_per_row <= limit,
      f"corruption.masks_per_row={keys.masks_per_row} is too many for rows of "
      f"data.seq_len={length}: corruption.kind={keys.kind!r} masks at most "
      f"{limit:.0f}",
    )
    pairs = keys.sentence_pairs
    if pairs == "none":
      return
    if not self.supports_sentence_pairs:
      kinds = [
        repr(kind)
        for kind, cls in registry.CORRUPTIONS.items()
        if cls.supports_sentence_pairs
      ]
      raise InputError(
        f"corruption.kind={keys.kind!r} does not support "
        f"corruption.sentence_pairs={pairs!r}: use {' or '.join(kinds)}"
      )
    require(
      config.data.packing == "single",
      f"corruption.sentence_pairs={pairs!r} needs data.packing='single', one "
      f"document a row, not {config.data.packing!r}",
    )
    require(
      config.model.num_types != 1,
      f"corruption.sentence_pairs={pairs!r} needs model.num_types=2, a type "
      "for each sentence, or 0, no types at all; not 1",
    )

  def heldout(self) -> CorruptionConfig:
    """Returns the keys by which held-out rows are corrupted."""
    return self.keys

  def heldout_as_trained(self) -> CorruptionConfig | None:
    """Returns the keys of a second evaluation, by the run's own corruption.

    None where `heldout` is that.
    """
    return None

  def describe_heldout(self) -> str:
    """Returns how held-out rows are corrupted, for metrics and model cards."""
    return "as in training"

  def describe(self) -> str:
    """Returns a line for the model card."""
    if self.keys.masks_per_row:
      return f"{self.keys.kind}, {self.keys.masks_per_row} tokens a row"
    return f"{self.keys.kind}, {self.keys.mask_rate:.0%} of tokens"

  @property
  def _peak_rate(self) -> float:
    return max(self.keys.mask_rate, self.keys.final_mask_rate)
