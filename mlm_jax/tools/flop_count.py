"""Counts the FLOPs of the matmuls in a traced program."""

import math
from typing import NamedTuple

from jax.extend.core import ClosedJaxpr


class Flops(NamedTuple):
  """FLOPs of matmuls, summed over all devices.

  Attributes:
    all: of all matmuls.
    kernels: of those in Pallas kernels, which compilers do not count.
    loops: of loop iterations after the first, which compilers do not count.
  """

  all: float
  kernels: float
  loops: float


def count(jaxpr: ClosedJaxpr) -> Flops:
  """Counts the matmuls of a jaxpr and of everything that it calls."""
  return Flops(*_count(jaxpr.jaxpr, 1, 1, False))


def _count(jaxpr, times, devices, in_kernel):
  """Returns the three numbers of `Flops`.

  Args:
    jaxpr: the program.
    times: how often it runs.
    devices: how many devices run it, each on its own shard.
    in_kernel: whether it is part of a Pallas kernel.
  """
  total, kernels, loops = 0.0, 0.0, 0.0
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == "dot_general":
      flops = _dot(eqn) * devices
      total += times * flops
      kernels += times * flops * in_kernel
      loops += (times - 1) * flops * (not in_kernel)
      continue
    inner = times, devices, in_kernel
    if eqn.primitive.name == "scan":
      inner = times * eqn.params["length"], devices, in_kernel
    elif eqn.primitive.name == "shard_map":
      inner = times, devices * eqn.params["mesh"].size, in_kernel
    elif eqn.primitive.name == "pallas_call":
      grid = eqn.params["grid_mapping"].grid
      inner = times * math.prod(grid), devices, True
    counts = [_count(sub, *inner) for sub in _called(eqn)]
    if eqn.primitive.name == "cond":
      counts = [max(counts)]  # The longest branch.
    total += sum(count[0] for count in counts)
    kernels += sum(count[1] for count in counts)
    loops += sum(count[2] for count in counts)
  return total, kernels, loops


def _dot(eqn):
  (contracted, _), _ = eqn.params["dimension_numbers"]
  lhs, out = eqn.invars[0].aval, eqn.outvars[0].aval
  return 2 * math.prod(out.shape) * math.prod(lhs.shape[i] for i in contracted)


def _called(eqn):
  for value in eqn.params.values():
    for item in value if isinstance(value, (list, tuple)) else [value]:
      if hasattr(item, "eqns"):
        yield item
      elif hasattr(getattr(item, "jaxpr", None), "eqns"):
        yield item.jaxpr
