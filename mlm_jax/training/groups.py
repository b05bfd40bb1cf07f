"""Groups of parameters: which are frozen, and the learning rates of the others.

A parameter is called by its path, such as encoder/blocks_0/mlp/in/kernel. A
pattern names successive parts of it, each with the wildcards of a shell:
encoder/blocks_[0-3] is all of the first four layers.
"""

import fnmatch
import math
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from mlm_jax.config import OptimConfig
from mlm_jax.errors import unknown

_BLOCK = re.compile(r"(.*)\bblocks_(\d+)/")
# What lies below the first layer.
_LOWEST = ("*_embedding", "embedding_norm", "embedding_projection")


def rate_factors(params: Any, optim: OptimConfig) -> Any:
  """Returns the factor of each parameter's learning rate, 0 where frozen.

  It is a number, or a float32 array [V, 1] for a table with frozen rows.

  Raises:
    InputError: a pattern matches no parameter.
  """
  names = [name for name, _ in _named(params)]
  depths = _depths(names)

  def factor(path, param):
    name = name_of(path)
    if _is_frozen(name, optim):
      return 0.0
    found = optim.layer_decay ** depths[name]
    for pattern, rate in optim.rate_of_pattern.items():
      if _matches(pattern, name):
        found *= rate
    if optim.first_trained_row and name.endswith("token_embedding"):
      is_trained_V1 = jnp.arange(len(param))[:, None] >= optim.first_trained_row
      return found * is_trained_V1.astype(jnp.float32)
    return found

  patterns = [p.removeprefix("!") for p in optim.frozen_patterns]
  for pattern in (*patterns, *optim.rate_of_pattern):
    if not any(_matches(pattern, name) for name in names):
      parts = sorted({part for name in names for part in name.split("/")})
      raise unknown("parameter", pattern, parts, "no parameter matches it")
  return jax.tree.map_with_path(factor, params)


def freeze(params: Any, optim: OptimConfig) -> Any:
  """Returns the same parameters; those that are frozen have no gradient."""
  if not (optim.freeze or optim.first_trained_row):
    return params

  def one(param, factor):
    if isinstance(factor, float):
      return param if factor else jax.lax.stop_gradient(param)
    return jnp.where(factor > 0, param, jax.lax.stop_gradient(param))

  return jax.tree.map(one, params, rate_factors(params, optim))


def scale(updates: Any, params: Any, optim: OptimConfig) -> Any:
  """Returns updates times the factors of their learning rates."""
  if not optim.has_groups:
    return updates

  def one(update, factor):
    is_one = isinstance(factor, float) and factor == 1
    return update if is_one else update * factor

  return jax.tree.map(one, updates, rate_factors(params, optim))


def num_frozen(params: Any, optim: OptimConfig) -> int:
  """Returns how many numbers of the parameters are frozen."""
  total = 0
  for name, param in _named(params):
    if _is_frozen(name, optim):
      total += math.prod(param.shape)
    elif name.endswith("token_embedding"):
      rows = min(optim.first_trained_row, param.shape[0])
      total += rows * param.shape[1]
  return total


def _depths(names: list[str]) -> dict[str, int]:
  """Returns how far each parameter is below the heads, in layers.

  Layers are counted within their encoder or decoder. Heads and final norms are
  at 0, the last layer is at 1, embeddings are below the first layer.
  """
  blocks = {name: match for name in names if (match := _BLOCK.match(name))}
  num_layers = {}
  for match in blocks.values():
    stack, layer = match[1], int(match[2])
    num_layers[stack] = max(num_layers.get(stack, 0), layer + 1)
  most = max(num_layers.values(), default=0)
  depths = dict.fromkeys(names, 0)
  for name, match in blocks.items():
    depths[name] = num_layers[match[1]] - int(match[2])
  for name in names:
    if name not in blocks and any(_matches(p, name) for p in _LOWEST):
      depths[name] = most + 1
  return depths


def _is_frozen(name: str, optim: OptimConfig) -> bool:
  """Returns what the last of the patterns that match says."""
  is_frozen = False
  for pattern in optim.frozen_patterns:
    if _matches(pattern.removeprefix("!"), name):
      is_frozen = not pattern.startswith("!")
  return is_frozen


def _matches(pattern: str, name: str) -> bool:
  wanted, parts = pattern.split("/"), name.split("/")
  return any(
    all(map(fnmatch.fnmatchcase, parts[first:], wanted))
    for first in range(len(parts) - len(wanted) + 1)
  )


def _named(params: Any) -> Iterator[tuple[str, Any]]:
  for path, param in jax.tree.leaves_with_path(params):
    yield name_of(path), param


def name_of(path) -> str:
  """Returns the path of a leaf, such as "encoder/blocks_0/mlp/in/kernel"."""
  return jax.tree_util.keystr(path, simple=True, separator="/")
