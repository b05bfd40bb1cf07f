"""What an objective is to the step, evaluation and the commands."""

import dataclasses
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlm_jax.config import Config
from mlm_jax.vocabulary import Vocabulary

Batch = dict[str, jax.Array]
# By term: "loss" and "accuracy", each a sum over what the term asks about.
Sums = dict[str, dict[str, jax.Array]]

Part = tuple[nn.Module, dict]


@dataclasses.dataclass(frozen=True)
class Objective:
  """A loss of one or several terms.

  Sums and weights are divided once, after micro-batches, devices and hosts have
  been added up. All functions are pure.

  Attributes:
    tells: the term that predicts tokens.
    model: configuration and vocabulary -> the module that is trained.
    terms: configuration -> what each term counts for; the first is what the
      accuracy is of.
    weights: batch and vocabulary -> how much each term asks about.
    sums: model, vocabulary, parameters, batch and a key, or None for no dropout
      and equal numbers for equal parameters -> `Sums`.
    parts: configuration, vocabulary and parameters -> by name, the models that
      the trained one consists of, each with its parameters, and those of an
      `Encoder` under "encoder" in them; the first is the result.
  """

  tells: str
  model: Callable[[Config, Vocabulary], nn.Module]
  terms: Callable[[Config], Mapping[str, float]]
  weights: Callable[[Batch, Vocabulary], dict[str, jax.Array]]
  sums: Callable[..., Sums]
  parts: Callable[[Config, Vocabulary, dict], dict[str, Part]]


def of_tokens(
  values: Mapping[str, float], objective: Objective
) -> tuple[float, float]:
  """Returns the loss in nats a token and the accuracy, of what `means` gives."""
  term = objective.tells
  return tuple(
    values.get(f"{term}_{key}", values[key]) for key in ("loss", "accuracy")
  )


def means(sums: Sums, terms: Mapping[str, float]) -> dict[str, jax.Array]:
  """Returns "loss", all terms together, and "accuracy", the first one's.

  Of several terms, TERM_loss and TERM_accuracy are each one's own.

  Args:
    sums: with "weight" beside "loss" and "accuracy".
    terms: what each counts for.
  """
  each = {
    term: {
      key: sums[term][key] / jnp.maximum(sums[term]["weight"], 1)
      for key in ("loss", "accuracy")
    }
    for term in terms
  }
  loss = sum(share * each[term]["loss"] for term, share in terms.items())
  found = {"loss": loss, "accuracy": each[next(iter(terms))]["accuracy"]}
  if len(terms) > 1:
    found |= {
      f"{term}_{key}": value
      for term in terms
      for key, value in each[term].items()
    }
  return found
