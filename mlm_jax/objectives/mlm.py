"""Masked language modelling (Devlin et al. 2019), and its auxiliary terms."""

import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlm_jax import registry
from mlm_jax.config import Config
from mlm_jax.errors import require
from mlm_jax.models import flops
from mlm_jax.models.composite import MaskedLM, PairMaskedLM, SpanMaskedLM
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.objectives.base import (
  Batch,
  LossSums,
  Objective,
  Submodel,
  Term,
)
from mlm_jax.objectives.cross_entropy import (
  binary_cross_entropy,
  cross_entropy,
)
from mlm_jax.vocabulary import Vocabulary

TARGET_FIELDS = ("target_positions", "target_ids", "target_weights")


class MaskedLanguageModelling(Objective):
  """Predicts the tokens at the target positions.

  With `objective.span_boundary`, also from the borders of their spans
  (SpanBERT, Joshi et al. 2020); with `corruption.sentence_pairs`, also whether
  two sentences are in order (BERT's NSP, ALBERT's SOP).
  """

  title = "masked language modelling"
  tasks = ("fill_masks",)
  shares_weights = True
  token_term = "mlm"
  options = ("objective.span_boundary", "corruption.sentence_pairs")
  supports = (
    "fill_mask",
    "export_hf",
    "evaluate --discrepancy",
    "evaluate --passes",
  )

  @classmethod
  def check(cls, config: Config) -> None:
    super().check(config)
    pairs, kind = config.corruption.sentence_pairs, config.corruption.kind
    if config.objective.span_boundary:
      require(
        registry.CORRUPTIONS[kind].masks_spans,
        f"objective.span_boundary needs corruption.kind='spans', not {kind!r}",
      )
      require(
        pairs == "none",
        "objective.span_boundary does not support "
        f"corruption.sentence_pairs={pairs!r}, only 'none'",
      )

  @functools.cached_property
  def model(self) -> nn.Module:
    model = MaskedLM
    if "span_boundary" in self.terms:
      model = SpanMaskedLM
    elif "pair" in self.terms:
      model = PairMaskedLM
    return model(self.config.model, self.vocab.size)

  @functools.cached_property
  def terms(self) -> Mapping[str, Term]:
    terms = {"mlm": Term(1.0, "masked tokens")}
    if self.config.objective.span_boundary:
      terms["span_boundary"] = Term(1.0, "span boundary")
    if self.config.corruption.sentence_pairs != "none":
      terms["pair"] = Term(1.0, "sentence pairs")
    return terms

  @classmethod
  def fields(cls, config: Config) -> tuple[str, ...]:
    fields = ("input_ids", *TARGET_FIELDS)
    if config.corruption.sentence_pairs != "none":
      fields += ("type_ids", "pair_labels", "pair_weights")
    return fields

  def denominators(self, batch: Batch) -> dict[str, jax.Array]:
    targets = jnp.sum(batch["target_weights"])
    denominators = dict.fromkeys(self.terms, targets)
    if "pair" in self.terms:
      denominators["pair"] = jnp.sum(batch["pair_weights"])
    return denominators

  def loss_sums(
    self, params, batch: Batch, key: jax.Array | None = None
  ) -> LossSums:
    targets = batch["target_ids"], batch["target_weights"]
    predict_with = functools.partial(
      predict, self.model, self.vocab, params, batch, key
    )
    sums = {}
    if "span_boundary" in self.terms:
      logits, border_logits = predict_with(borders=span_borders(batch))
      sums["span_boundary"] = cross_entropy(border_logits, *targets)
    elif "pair" in self.terms:
      logits, pair_logits_B = predict_with()
      sums["pair"] = binary_cross_entropy(
        pair_logits_B, batch["pair_labels"] > 0, batch["pair_weights"] > 0
      )
    else:
      logits = predict_with()
    return {"mlm": cross_entropy(logits, *targets), **sums}

  def forward_flops(self) -> float:
    model, vocab_size = self.config.model, self.vocab.size
    targets = self.num_targets
    total = flops.masked_lm(
      model, self.config.data.seq_len, targets, vocab_size
    )
    if "span_boundary" in self.terms:
      total += flops.span_boundary_head(model, targets, vocab_size)
    if "pair" in self.terms:
      total += flops.sentence_pair_head(model)
    return total

  def submodels(self, params) -> dict[str, Submodel]:
    # The heads of auxiliary terms are for training alone.
    kept = {k: v for k, v in params.items() if k in ("encoder", "head")}
    return {"model": (MaskedLM(self.config.model, self.vocab.size), kept)}


def predict(
  model: MaskedLM,
  vocab: Vocabulary,
  params,
  batch: Batch,
  dropout_key: jax.Array | None = None,
  **arguments,
):
  """Returns what a `MaskedLM` returns at a batch's targets.

  Args:
    model: the module.
    vocab: the vocabulary.
    params: the model's parameters.
    batch: the batch.
    dropout_key: None disables dropout.
    **arguments: the model's further arguments.
  """
  ids_BL = batch["input_ids"]
  segment_ids_BL, positions_BL = segments_and_positions(ids_BL, vocab)
  return model.apply(
    {"params": params},
    ids_BL,
    segment_ids_BL,
    positions_BL,
    batch["target_positions"],
    type_ids_BL=batch.get("type_ids"),
    **arguments,
    deterministic=dropout_key is None,
    rngs=None if dropout_key is None else {"dropout": dropout_key},
  )


def span_borders(batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the borders of each target's span, and its position in the span.

  A span is a run of targets without a gap.

  Returns:
    int32 [B, P] each: the position before the span, the position after it, and
    how many targets of the span precede this one.
  """
  positions_BP, weights_BP = batch["target_positions"], batch["target_weights"]
  rows_B1 = jnp.arange(len(positions_BP))[:, None]
  length = batch["input_ids"].shape[1]
  is_target_BL = jnp.zeros(batch["input_ids"].shape, bool)
  is_target_BL = is_target_BL.at[rows_B1, positions_BP].max(weights_BP > 0)
  index_L = jnp.arange(length)
  left_BL = jax.lax.cummax(jnp.where(is_target_BL, 0, index_L), axis=1)
  right_BL = jnp.where(is_target_BL, length - 1, index_L)
  right_BL = jax.lax.cummin(right_BL, axis=1, reverse=True)
  at = lambda x_BL: jnp.take_along_axis(x_BL, positions_BP, axis=1)
  offset_BP = jnp.maximum(positions_BP - at(left_BL) - 1, 0)
  return at(left_BL), at(right_BL), offset_BP
