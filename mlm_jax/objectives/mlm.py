"""Masked language modelling (Devlin et al. 2019), and what may be added to it."""

import functools

import jax
import jax.numpy as jnp

from mlm_jax.config import Config
from mlm_jax.models.composite import MaskedLM, PairMaskedLM, SpanMaskedLM
from mlm_jax.models.heads import Scores
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.objectives.base import Batch, Objective, Part, Sums
from mlm_jax.objectives.cross_entropy import (
  binary_cross_entropy,
  cross_entropy,
)
from mlm_jax.vocabulary import Vocabulary


def tell(
  model: MaskedLM,
  vocab: Vocabulary,
  params,
  batch: Batch,
  dropout_key: jax.Array | None = None,
  **seen,
) -> Scores:
  """Returns the logits at a batch's targets, before they are multiplied out.

  Of a `SpanMaskedLM` or a `PairMaskedLM` two things, as they do.

  Args:
    model: gives them.
    vocab: the start and pad ids.
    params: of the model.
    batch: what `data.corruption` makes.
    dropout_key: turns dropout on.
    **seen: what tokens see, as `Encoder` has it; or a model's own arguments.
  """
  ids_BL = batch["input_ids"]
  segment_ids_BL, positions_BL = segments_and_positions(
    ids_BL, start_id=vocab.start_id, pad_id=vocab.pad_id
  )
  return model.clone(as_scores=True).apply(
    {"params": params},
    ids_BL,
    segment_ids_BL,
    positions_BL,
    batch["target_positions"],
    type_ids_BL=batch.get("type_ids"),
    **seen,
    deterministic=dropout_key is None,
    rngs=None if dropout_key is None else {"dropout": dropout_key},
  )


def sums(
  model: MaskedLM,
  vocab: Vocabulary,
  params,
  batch: Batch,
  key: jax.Array | None = None,
) -> Sums:
  """Returns the loss over a batch's targets, as `Objective` has it."""
  targets = batch["target_ids"], batch["target_weights"]
  told_of = functools.partial(tell, model, vocab, params, batch, key)
  more = {}
  if isinstance(model, SpanMaskedLM):
    told, by_borders = told_of(borders=borders(batch))
    more["span_boundary"] = cross_entropy(by_borders, *targets)
  elif isinstance(model, PairMaskedLM):
    told, pair_B = told_of()
    more["pair"] = binary_cross_entropy(
      pair_B, batch["pair_labels"] > 0, batch["pair_weights"] > 0
    )
  else:
    told = told_of()
  return {"mlm": cross_entropy(told, *targets), **more}


def borders(batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns, of each target's span, its borders, and the target's place in it.

  A span is what is asked for without a gap.

  Returns:
    int32 [B, P] each: the place before the span, the place after it, and how
    many targets of the span stand before this one.
  """
  positions_BP, weights_BP = batch["target_positions"], batch["target_weights"]
  rows_B1 = jnp.arange(len(positions_BP))[:, None]
  length = batch["input_ids"].shape[1]
  hidden_BL = jnp.zeros(batch["input_ids"].shape, bool)
  hidden_BL = hidden_BL.at[rows_B1, positions_BP].max(weights_BP > 0)
  index_L = jnp.arange(length)
  left_BL = jax.lax.cummax(jnp.where(hidden_BL, 0, index_L), axis=1)
  right_BL = jnp.where(hidden_BL, length - 1, index_L)
  right_BL = jax.lax.cummin(right_BL, axis=1, reverse=True)
  at = lambda x_BL: jnp.take_along_axis(x_BL, positions_BP, axis=1)
  place_BP = jnp.maximum(positions_BP - at(left_BL) - 1, 0)
  return at(left_BL), at(right_BL), place_BP


def _added(config: Config) -> tuple[type[MaskedLM], tuple[str, ...]]:
  """Returns the model, and what terms there are beside "mlm"."""
  if config.objective.span_boundary:
    return SpanMaskedLM, ("span_boundary",)
  if config.corruption.sentence_pairs != "none":
    return PairMaskedLM, ("pair",)
  return MaskedLM, ()


def _terms(config: Config) -> dict[str, float]:
  return dict.fromkeys(("mlm", *_added(config)[1]), 1.0)


def _model(config: Config, vocab: Vocabulary) -> MaskedLM:
  return _added(config)[0](config.model, vocab.size)


def _parts(config: Config, vocab: Vocabulary, params) -> dict[str, Part]:
  # What was added is for training.
  own = {k: v for k, v in params.items() if k in ("encoder", "head")}
  return {"model": (MaskedLM(config.model, vocab.size), own)}


def _weights(batch: Batch, vocab: Vocabulary) -> dict[str, jax.Array]:
  targets = jnp.sum(batch["target_weights"])
  pairs = {}
  if "pair_weights" in batch:
    pairs = {"pair": jnp.sum(batch["pair_weights"])}
  return {"mlm": targets, "span_boundary": targets, **pairs}


MLM = Objective("mlm", _model, _terms, _weights, sums, _parts)
