"""The matmuls of a traced program, counted."""

import math
from typing import NamedTuple

from jax.extend.core import ClosedJaxpr


class Flops(NamedTuple):
  """FLOPs of matmuls, over all devices.

  Attributes:
    all: every one.
    kernels: those within Pallas kernels, which no compiler counts.
    loops: those that a compiler, which counts a loop's body once, leaves out.
  """

  all: float
  kernels: float
  loops: float


def count(jaxpr: ClosedJaxpr) -> Flops:
  """Counts those of a jaxpr and of all that it calls."""
  return Flops(*_count(jaxpr.jaxpr, 1, 1, False))


def _count(jaxpr, times, devices, in_kernel):
  """Returns the three numbers of `Flops`.

  Args:
    jaxpr: the program.
    times: how often it runs.
    devices: how many run it, each on its own part.
    in_kernel: is it (part of) a kernel?
  """
  every, kernels, loops = 0.0, 0.0, 0.0
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == "dot_general":
      flops = _dot(eqn) * devices
      every += times * flops
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
    parts = [_count(sub, *inner) for sub in _called(eqn)]
    if eqn.primitive.name == "cond":
      parts = [max(parts)]
    every += sum(part[0] for part in parts)
    kernels += sum(part[1] for part in parts)
    loops += sum(part[2] for part in parts)
  return every, kernels, loops


def _dot(eqn):
  (contracted, _), _ = eqn.params["dimension_numbers"]
  lhs, out = eqn.invars[0].aval, eqn.outvars[0].aval
  return 2 * math.prod(out.shape) * math.prod(lhs.shape[i] for i in contracted)


def _called(eqn):
  for value in eqn.params.values():
    for part in value if isinstance(value, (list, tuple)) else [value]:
      if hasattr(part, "eqns"):
        yield part
      elif hasattr(getattr(part, "jaxpr", None), "eqns"):
        yield part.jaxpr
