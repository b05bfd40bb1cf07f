"""`objective.*`: what is learned from a batch."""

import dataclasses

from mlm_jax.config.key import check_keys, key
from mlm_jax.config.model import EncoderConfig
from mlm_jax.errors import InputError
from mlm_jax.registry import OBJECTIVES


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
  """What the model learns from a batch."""

  # fmt: off
  name: str = key("mlm",
    "Training objective. mlm is masked language modelling, rtd replaced token "
    "detection (ELECTRA), causal_lm next-token prediction, mixture masks in "
    "some rows and next tokens in others. Of encoder-decoders: seq2seq "
    "generates from left to right (T5, BART, MASS), cmlm in any order "
    "(Mask-Predict).",
    scope="weights", choices=OBJECTIVES)
  span_boundary: bool = key(False,
    "Add SpanBERT's span boundary objective. Each token of a span is also "
    "predicted from the two tokens next to the span; needs name=mlm and "
    "corruption.kind=spans.",
    scope="weights")
  generator_share: float = key(0.25,
    "Size of rtd's generator, relative to the encoder. It scales width, heads "
    "and mlp_width.",
    scope="weights", above=0)
  rtd_weight: float = key(50.0,
    "Weight of rtd's detection loss. The generator's loss has weight 1.",
    scope="optimizer", above=0)
  # fmt: on

  def __post_init__(self):
    check_keys(self, "objective.")

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
