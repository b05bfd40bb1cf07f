"""Conditional masked language modelling (Ghazvininejad et al. 2019).

The objective of Mask-Predict: a decoder fills in the masks of its input in any
order, and the encoder predicts how long the text is.
"""

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlm_jax.config import Config
from mlm_jax.errors import require
from mlm_jax.models import flops
from mlm_jax.models.composite import ConditionalMaskedLM
from mlm_jax.objectives.base import Batch, LossSums, Term
from mlm_jax.objectives.cross_entropy import cross_entropy
from mlm_jax.objectives.seq2seq import SequenceToSequence


class ConditionalMaskedLanguageModelling(SequenceToSequence):
  """Predicts the decoder's masked tokens, and the length of each document."""

  title = "conditional masked language modelling"
  tasks = ("fill_decoder_masks",)
  token_term = "cmlm"
  supports = ("mask_predict",)

  @classmethod
  def check(cls, config: Config) -> None:
    super().check(config)
    kind = config.model.position_kind
    require(
      kind == "learned",
      f"objective.name={config.objective.name!r} needs "
      "model.position_kind='learned': only learned positions distinguish the "
      f"masks of a decoder, not {kind!r}",
    )

  @functools.cached_property
  def model(self) -> nn.Module:
    return ConditionalMaskedLM(self.config.model, self.vocab.size)

  @property
  def terms(self) -> Mapping[str, Term]:
    return {
      "cmlm": Term(1.0, "masked tokens"),
      "length": Term(1.0, "lengths"),
    }

  @classmethod
  def fields(cls, config: Config) -> tuple[str, ...]:
    return (*super().fields(config), "target_lengths")

  def denominators(self, batch: Batch) -> dict[str, jax.Array]:
    num_lengths = jnp.sum(batch["target_lengths"] > 0, dtype=jnp.float32)
    return {"cmlm": jnp.sum(batch["target_weights"]), "length": num_lengths}

  def loss_sums(
    self, params, batch: Batch, key: jax.Array | None = None
  ) -> LossSums:
    logits, length_logits_BLN = self.predict(params, batch, key)
    targets = batch["target_ids"], batch["target_weights"]
    lengths_BL = batch["target_lengths"]
    return {
      "cmlm": cross_entropy(logits, *targets),
      "length": cross_entropy(length_logits_BLN, lengths_BL, lengths_BL > 0),
    }

  def forward_flops(self) -> float:
    model, length = self.config.model, self.config.data.seq_len
    lengths = flops.dense(length, model.width, model.max_positions)
    return super().forward_flops() + lengths
