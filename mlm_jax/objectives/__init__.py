"""Vectors to loss: each objective returns loss sums and their denominators."""

from mlm_jax import registry
from mlm_jax.config import Config
from mlm_jax.errors import InputError
from mlm_jax.objectives.base import Objective
from mlm_jax.vocabulary import Vocabulary


def bind(config: Config, vocab: Vocabulary) -> Objective:
  """Returns the objective that `config` names, bound to it and to `vocab`."""
  return registry.OBJECTIVES[config.objective.name](config, vocab)


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
