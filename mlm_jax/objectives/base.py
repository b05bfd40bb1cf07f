"""The base class of objectives: what the rest of the program asks of a loss."""

import abc
import dataclasses
import operator
from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax import registry
from mlm_jax.config import Config, EncoderConfig
from mlm_jax.data import corruption as corruption_lib
from mlm_jax.data.corruption.base import Task
from mlm_jax.errors import InputError, require
from mlm_jax.models import flops
from mlm_jax.vocabulary import Vocabulary

Batch = dict[str, jax.Array]
# By term: "loss" in nats and "accuracy", each summed over its predictions.
LossSums = dict[str, dict[str, jax.Array]]
Submodel = tuple[nn.Module, dict]

# Keys that only some objectives support, and the value that turns each off.
_OPTIONS = {
  "objective.span_boundary": False,
  "corruption.sentence_pairs": "none",
  "corruption.next_token_share": 0,
  "corruption.prefix_share": 0,
}


@dataclasses.dataclass(frozen=True)
class Term:
  """One summand of a loss.

  Attributes:
    weight: its factor in the total loss.
    label: its display name.
  """

  weight: float
  label: str


class Objective(abc.ABC):
  """A training loss of one or several terms, bound to a configuration.

  Sums and denominators are divided once, after micro-batches, devices and hosts
  have been added up. All methods are pure. To write one, subclass this class or
  the nearest objective, and register it:

      @registry.OBJECTIVES.register("my_objective")
      class MyObjective(MaskedLanguageModelling): ...

  Attributes:
    title: what it is called in a text, such as "masked language modelling".
    tasks: the tasks of corruptions whose batches it takes.
    has_decoder: whether the model is an encoder-decoder.
    shares_weights: whether its weights are those of a masked language model: an
      encoder and a head. Phases may change from one such objective to another.
    token_term: the term that predicts tokens, None if there is none.
    options: the keys of `_OPTIONS` that it supports.
    supports: the commands and flags that need more than a loss: "fill_mask",
      "mask_predict", "export_hf", "evaluate --discrepancy" and "--passes".
    config: the configuration.
    vocab: the tokenizer's vocabulary.
  """

  title: ClassVar[str]
  tasks: ClassVar[tuple[Task, ...]]
  has_decoder: ClassVar[bool] = False
  shares_weights: ClassVar[bool] = False
  token_term: ClassVar[str | None] = None
  options: ClassVar[tuple[str, ...]] = ()
  supports: ClassVar[tuple[str, ...]] = ()

  def __init__(self, config: Config, vocab: Vocabulary):
    self.config = config
    self.vocab = vocab

  @classmethod
  def check(cls, config: Config) -> None:
    """Checks what the objective requires of a configuration.

    Raises:
      InputError: it cannot be trained with it.
    """
    name, kind = config.objective.name, config.corruption.kind
    if registry.CORRUPTIONS[kind].task not in cls.tasks:
      kinds = [
        other
        for other, corruption in registry.CORRUPTIONS.items()
        if corruption.task in cls.tasks
      ]
      raise InputError(
        f"objective.name={name!r} does not support corruption.kind={kind!r}, "
        f"only {' and '.join(map(repr, kinds))}"
      )
    layers = config.model.num_decoder_layers
    require(
      (layers > 0) == cls.has_decoder,
      f"objective.name={name!r} trains an encoder-decoder: "
      f"model.num_decoder_layers must be positive, not {layers}"
      if cls.has_decoder
      else f"objective.name={name!r} trains an encoder alone: "
      f"model.num_decoder_layers must be 0, not {layers}",
    )
    for key, off in _OPTIONS.items():
      value = operator.attrgetter(key)(config)
      if value != off and key not in cls.options:
        names = [
          other
          for other, objective in registry.OBJECTIVES.items()
          if key in objective.options
        ]
        raise InputError(
          f"{key}={value!r} needs objective.name="
          f"{' or '.join(map(repr, names))}, not {name!r}"
        )

  @classmethod
  @abc.abstractmethod
  def fields(cls, config: Config) -> tuple[str, ...]:
    """Returns the names of the batch fields that the loss needs."""

  @classmethod
  def check_fields(cls, config: Config) -> None:
    """Checks that the corruption makes the batch fields that the loss needs.

    Raises:
      InputError: it does not, or two of its keys want a field differently.
    """
    made = corruption_lib.batch_contract(config).fields
    for field in cls.fields(config):
      require(
        field in made,
        f"objective.name={config.objective.name!r} needs the batch field "
        f"{field!r}, which corruption.kind={config.corruption.kind!r} does not "
        f"make: it makes {', '.join(made)}",
      )

  @property
  @abc.abstractmethod
  def model(self) -> nn.Module:
    """The module that is trained."""

  @property
  @abc.abstractmethod
  def terms(self) -> Mapping[str, Term]:
    """The terms by name; "accuracy" is the first one's."""

  @abc.abstractmethod
  def denominators(self, batch: Batch) -> dict[str, jax.Array]:
    """Returns by term the number of predictions, or their summed weight."""

  @abc.abstractmethod
  def loss_sums(
    self, params, batch: Batch, key: jax.Array | None = None
  ) -> LossSums:
    """Returns each term's loss and accuracy, summed over the batch.

    Args:
      params: the model's parameters.
      batch: the fields of `fields`.
      key: the random key. None disables dropout and makes any sampling
        deterministic.
    """

  @abc.abstractmethod
  def forward_flops(self) -> float:
    """Returns the matmul FLOPs of the forward pass over one row."""

  @property
  def flops_per_token(self) -> float:
    """The matmul FLOPs of training on one token of a full row.

    The backward pass takes twice those of the forward pass.
    """
    return 3 * self.forward_flops() / self.config.data.seq_len

  def flops_per_token_within(self, rows_BL: np.ndarray) -> float:
    """Returns the same, with attention within documents alone.

    Of an encoder-decoder, the same.

    Args:
      rows_BL: packed rows, from which the lengths of documents are taken.
    """
    starts_BL = np.cumsum(rows_BL == self.vocab.start_id, axis=1)
    segments_BL = np.where(rows_BL == self.vocab.pad_id, 0, starts_BL)
    unseen = sum(
      flops.unseen_attention(encoder, segments_BL) for encoder in self.encoders
    )
    return self.flops_per_token - 3 * unseen

  @property
  def encoders(self) -> tuple[EncoderConfig, ...]:
    """The encoders that attend to a whole row; none beside a decoder."""
    return () if self.has_decoder else (self.config.model,)

  @property
  def num_targets(self) -> int:
    """P, the static number of target slots of a row."""
    return corruption_lib.batch_contract(self.config).sizes["P"]

  @property
  def is_causal(self) -> bool:
    """Whether the trained encoder reads texts with causal attention."""
    return False

  def submodels(self, params) -> dict[str, Submodel]:
    """Returns by name the models that the trained one consists of.

    Each has its parameters, those of an `Encoder` under "encoder". The first
    is the result of training.
    """
    return {"model": (self.model, params)}

  def ratios(self, sums: LossSums) -> dict[str, jax.Array]:
    """Returns "loss", the weighted sum of all terms, and "accuracy".

    If there are several terms, TERM_loss and TERM_accuracy are each one's own.

    Args:
      sums: of `loss_sums`, with each term's denominator as "weight".
    """
    each = {
      term: {
        key: sums[term][key] / jnp.maximum(sums[term]["weight"], 1)
        for key in ("loss", "accuracy")
      }
      for term in self.terms
    }
    loss = sum(term.weight * each[t]["loss"] for t, term in self.terms.items())
    found = {"loss": loss, "accuracy": each[next(iter(each))]["accuracy"]}
    if len(each) > 1:
      found |= {
        f"{term}_{key}": value
        for term, values in each.items()
        for key, value in values.items()
      }
    return found

  @classmethod
  def token_loss_and_accuracy(
    cls, values: Mapping[str, float]
  ) -> tuple[float, float]:
    """Returns the loss in nats per token and the accuracy, of `ratios`.

    Of an objective without a `token_term`, those of all terms together.
    """
    loss, accuracy = f"{cls.token_term}_loss", f"{cls.token_term}_accuracy"
    return (
      values.get(loss, values["loss"]),
      values.get(accuracy, values["accuracy"]),
    )
