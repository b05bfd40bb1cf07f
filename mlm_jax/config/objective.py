"""`objective.*`: what is learned from a batch."""

import dataclasses
from typing import Literal

from mlm_jax.config.checks import check_range, check_types
from mlm_jax.config.model import EncoderConfig
from mlm_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
  # Masked language modelling, replaced token detection (ELECTRA), predicting what
  # comes next, or the first for some rows and the last for others; or of
  # encoder-decoders, saying what was lost: from left to right (T5, BART, MASS),
  # or in any order (Mask-Predict).
  name: Literal[*("mlm", "rtd", "causal_lm", "mixture", "seq2seq", "cmlm")] = (
    "mlm"
  )
  # Of mlm over spans: also predict each token from the two around its span
  # (SpanBERT).
  span_boundary: bool = False
  # Of rtd: the generator's width, heads and MLP width, of the encoder's; what
  # the detection counts for, beside 1 for the generator's own loss.
  generator_share: float = 0.25
  rtd_weight: float = 50.0

  def __post_init__(self):
    check_types(self, "objective")
    check_range(self, "objective", above_0=("generator_share", "rtd_weight"))

  def generator(self, model: EncoderConfig) -> EncoderConfig:
    """Returns the encoder that fills in what `model` is to detect.

    Raises:
      InputError: of that width it is none.
    """
    share = self.generator_share
    width = round(share * model.width)
    try:
      return dataclasses.replace(
        model,
        width=width,
        num_heads=max(1, round(share * model.num_heads)),
        # 0 would share none.
        num_kv_heads=model.num_kv_heads
        and max(1, round(share * model.num_kv_heads)),
        mlp_width=round(share * model.mlp_width),
        # It reads the other one's embeddings.
        embedding_width=0 if width == model.table_width else model.table_width,
      )
    except InputError as error:
      raise InputError(
        f"objective.generator_share={share} makes no generator: {error}"
      ) from error
