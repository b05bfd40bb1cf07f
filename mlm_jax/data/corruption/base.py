"""What every corruption is to the pipeline, the objectives and the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
  from mlm_jax.config import CorruptionConfig

# What the model is asked to do with a batch; an objective declares which of
# them it trains on.
#   fill_masks: an encoder predicts the tokens at the masked positions.
#   predict_next: a causal or prefix language model predicts the next token.
#   generate: a decoder generates text from left to right.
#   fill_decoder_masks: a decoder fills in the masks of its own input.
Task = Literal["fill_masks", "predict_next", "generate", "fill_decoder_masks"]


class Corruption:
  """One kind of corruption, bound to the `corruption.*` keys.

  Attributes:
    task: what the model is asked to do.
    masks_spans: whether the targets are spans with an unmasked token between
      any two, as objective.span_boundary needs.
    supports_sentence_pairs: whether rows may be sentence pairs.
    is_causal: whether no token of its batches attends to later ones.
    config: the keys.
  """

  task: ClassVar[Task]
  masks_spans: ClassVar[bool] = False
  supports_sentence_pairs: ClassVar[bool] = False
  is_causal: ClassVar[bool] = False

  def __init__(self, config: CorruptionConfig):
    self.config = config
