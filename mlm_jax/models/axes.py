"""What each axis of each parameter is, in the letters of the package's legend.

The one table of axis roles. Layers are built from its notation; model surgery
and the exchange with Hugging Face look parameters up by their paths.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mlm_jax.config import EncoderConfig

# The kernel of each matmul, input axes -> output axes, by the end of its path;
# its bias has the output axes. A digit is an axis of that size.
KERNELS = {
  "embedding_projection": "E->D",
  # T: the R queries of a group, its key and its value.
  "attention/qkv": "D->GTK",
  "attention/out": "HK->D",
  "cross/q": "D->HK",
  # 2: the key and the value of a group.
  "cross/kv": "D->G2K",
  "cross/out": "HK->D",
  # 2: what passes through the activation, and what that gates. MLPs without
  # gates lack this axis.
  "mlp/in": "D->2F",
  "mlp/out": "F->D",
  "head/dense": "D->E",
  "discriminator/head/dense": "D->D",
  "head/out": "D->1",
  "boundary/dense": "Z->D",
  "boundary/out/dense": "D->E",
  "pair/pooler": "D->D",
  "pair/out": "D->1",
  "length": "D->N",
}

# How many tensors are fused along an axis. All but the first take one index.
_FUSED = {"T": 3, "2": 2}

# The kernels whose first tensor is queries.
_QUERIES = ("attention/qkv", "cross/q")

# Parameters outside of matmuls and norms; "." is an axis without a letter.
_ARRAYS = {
  "token_embedding": "VE",
  "position_embedding": "NE",
  "type_embedding": ".E",
  "relative_bias": "UH",
  "head/table": "VE",
  "head/bias": "V",
  "boundary/place": "..",
  "boundary/out/table": "VE",
  "boundary/out/bias": "V",
}

# Norms over E; all others are over D.
_TABLE_NORMS = ("embedding_norm", "head/norm", "boundary/out/norm")

# The logical name of a kernel's axis, by which training shards it.
_LOGICAL = {"D": "embed", "F": "mlp", "G": "heads", "H": "heads", "K": "kv"}


def axis_sizes(config: EncoderConfig) -> dict[str, int]:
  """Returns the sizes of axes by their letters, and of "1" and "2"."""
  return {
    "1": 1,
    "2": 2,
    "D": config.width,
    "E": config.table_width,
    "F": config.mlp_width,
    "G": config.kv_heads,
    "H": config.num_heads,
    "K": config.head_width,
    "N": config.max_positions,
    "T": config.num_heads // config.kv_heads + 2,
  }


def logical_axes(letters: str) -> tuple[str | None, ...]:
  """Returns the logical names of a kernel's axes, None for unsharded ones.

  Only the first of two equal axes is sharded.
  """
  return tuple(
    None if letter in letters[:axis] else _LOGICAL.get(letter)
    for axis, letter in enumerate(letters)
  )


def axes_of(path: str, ndim: int) -> str:
  """Returns the letters of a parameter's axes.

  Args:
    path: of the parameter, such as "encoder/blocks_0/mlp/in/kernel".
    ndim: how many axes it has.

  Raises:
    ValueError: the tables here lack the parameter.
  """
  module, _, leaf = path.rpartition("/")
  if kernel := _find(KERNELS, module):
    inputs, outputs = KERNELS[kernel].split("->")
    letters = inputs + outputs if leaf == "kernel" else outputs
    if kernel == "mlp/in" and ndim < len(letters):
      letters = letters.replace("2", "")
  elif array := _find(_ARRAYS, path):
    letters = _ARRAYS[array]
  elif "norm" in module.rpartition("/")[2]:
    letters = "E" if _find(_TABLE_NORMS, module) else "D"
  else:
    letters = ""
  if ndim != len(letters):
    raise ValueError(f"models/axes.py lacks the {ndim} axes of {path}")
  return letters


def num_inputs(path: str) -> int:
  """Returns how many leading axes of a parameter a matmul sums over."""
  module, _, leaf = path.rpartition("/")
  kernel = _find(KERNELS, module)
  return KERNELS[kernel].index("->") if kernel and leaf == "kernel" else 0


def is_in_block(path: str) -> bool:
  """Returns True for the kernel of a matmul of attention or of an MLP."""
  module, _, leaf = path.rpartition("/")
  group = _find(KERNELS, module).partition("/")[0]
  return leaf == "kernel" and group in ("attention", "cross", "mlp")


def split(path: str, array: Any) -> list[Any]:
  """Returns the tensors that are fused in a kernel or bias, in their order.

  The axis along which they are fused stays. An array that is not fused is
  returned as the only one.
  """
  letters = axes_of(path, array.ndim)
  axis = _fused_axis(letters)
  if axis is None:
    return [array]
  size = array.shape[axis]
  last = range(size - _FUSED[letters[axis]] + 1, size + 1)
  return [
    array[(slice(None),) * axis + (slice(start, stop),)]
    for start, stop in itertools.pairwise([0, *last])
  ]


def fuse(path: str, parts: Sequence[jax.Array]) -> jax.Array:
  """Concatenates the tensors that `split` returned; its inverse."""
  if len(parts) == 1:
    return parts[0]
  return jnp.concatenate(parts, _fused_axis(axes_of(path, parts[0].ndim)))


def _fused_axis(letters: str) -> int | None:
  return next((i for i, x in enumerate(letters) if x in _FUSED), None)


def holds_queries(path: str) -> bool:
  """Returns True if the first tensor of a kernel or bias makes queries."""
  return _find(KERNELS, path.rpartition("/")[0]) in _QUERIES


def _find(table, path: str) -> str:
  """Returns the longest key of a table that a path ends in, "" for none."""
  found = [key for key in table if f"/{path}".endswith(f"/{key}")]
  return max(found, key=len, default="")
