"""Heads of sentence pairs: BERT's NSP and ALBERT's SOP."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from mlm_jax.errors import require


@dataclasses.dataclass(frozen=True)
class PairHead:
  """The names of a head that classifies pairs after a pooler.

  transformers' has a logit for pairs in order, and one for others; ours is
  their difference.

  Attributes:
    kind: the value of corruption.sentence_pairs.
    architecture: the transformers class that has the head.
    pooler: the name of the pooler's dense layer.
    out: the name of the classifier.
    logits: the name of the logits in what the class returns.
  """

  kind: str
  architecture: str
  pooler: str
  out: str
  logits: str

  def read(self, tensors: Mapping[str, np.ndarray]) -> dict:
    """Returns the parameters of a `SentencePairHead`.

    Raises:
      InputError: a tensor is missing.
    """
    names = [
      f"{module}.{leaf}"
      for module in (self.pooler, self.out)
      for leaf in ("weight", "bias")
    ]
    missing = [name for name in names if name not in tensors]
    require(not missing, f"the weights lack {', '.join(missing)}")
    pooler, pooler_bias, out, out_bias = (tensors[name] for name in names)
    return {
      "pooler": {"kernel": pooler.T.copy(), "bias": pooler_bias},
      "out": {
        "kernel": (out[0] - out[1])[:, None],
        "bias": out_bias[:1] - out_bias[1:],
      },
    }

  def write(self, params: Mapping) -> dict[str, np.ndarray]:
    """Returns the tensors of a `SentencePairHead`."""
    out, bias = params["out"]["kernel"], params["out"]["bias"]
    signs = np.array([0.5, -0.5], np.float32)
    return {
      f"{self.pooler}.weight": np.asarray(params["pooler"]["kernel"]).T.copy(),
      f"{self.pooler}.bias": np.asarray(params["pooler"]["bias"]),
      f"{self.out}.weight": signs[:, None] * np.asarray(out).T,
      f"{self.out}.bias": signs * np.asarray(bias),
    }


# By model_type.
PAIRS = {
  "bert": PairHead(
    kind="nsp",
    architecture="BertForPreTraining",
    pooler="bert.pooler.dense",
    out="cls.seq_relationship",
    logits="seq_relationship_logits",
  ),
  "albert": PairHead(
    kind="sop",
    architecture="AlbertForPreTraining",
    pooler="albert.pooler",
    out="sop_classifier.classifier",
    logits="sop_logits",
  ),
}
