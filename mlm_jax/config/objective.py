"""`objective.*`: what is learned from a batch."""

import dataclasses

from mlm_jax.config.key import check_keys, key
from mlm_jax.registry import OBJECTIVES


def _name(objective: "ObjectiveConfig") -> str:
  """Returns the scope of the name: some objectives have the same weights."""
  shares_weights = OBJECTIVES[objective.name].shares_weights
  return "function" if shares_weights else "weights"


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
  """What the model learns from a batch."""

  # fmt: off
  name: str = key("mlm",
    "Training objective. mlm is masked language modelling, rtd replaced token "
    "detection (ELECTRA), causal_lm next-token prediction, mixture masks in "
    "some rows and next tokens in others. Of encoder-decoders: seq2seq "
    "generates from left to right (T5, BART, MASS), cmlm in any order "
    "(Mask-Predict). Phases may change between mlm, causal_lm and mixture, "
    "whose weights are the same.",
    scope=_name, choices=OBJECTIVES)
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
