"""Vectors to loss: each objective returns loss sums and their denominators."""

from mlm_jax import registry
from mlm_jax.config import Config
from mlm_jax.data import corruption
from mlm_jax.errors import InputError, require
from mlm_jax.objectives.base import Objective
from mlm_jax.vocabulary import Vocabulary


def bind(config: Config, vocab: Vocabulary) -> Objective:
  """Returns the objective that `config` names, bound to it and to `vocab`.

  Raises:
    InputError: the corruption does not make a batch field that it needs.
  """
  name, kind = config.objective.name, config.corruption.kind
  objective = registry.OBJECTIVES[name](config, vocab)
  made = corruption.batch_contract(config).fields
  for field in objective.fields:
    require(
      field in made,
      f"objective.name={name!r} needs the batch field {field!r}, which "
      f"corruption.kind={kind!r} does not make: it makes {', '.join(made)}",
    )
  return objective


def require_support(config: Config, feature: str, hint: str = "") -> None:
  """Checks that the configured objective supports a command or flag.

  Args:
    config: the configuration.
    feature: the command or flag, as in `Objective.supports`.
    hint: what else to say if it does not.

  Raises:
    InputError: it does not; lists the objectives that do.
  """
  name, objectives = config.objective.name, registry.OBJECTIVES
  if feature not in objectives[name].supports:
    others = [n for n, other in objectives.items() if feature in other.supports]
    raise InputError(
      f"{feature} does not support objective.name={name!r}, only "
      f"{', '.join(map(repr, others))}{hint and f'; {hint}'}"
    )
