"""The TPUs that a program can be compiled for without having one."""

import dataclasses
import importlib.util
import itertools
import math
from collections.abc import Sequence

import jax
from jax.experimental import topologies

from mlm_jax.errors import InputError, require


@dataclasses.dataclass(frozen=True)
class Generation:
  """One kind of TPU.

  Attributes:
    hbm: GiB that a program may use of one device, as the compiler says when it
      is asked for too much.
    chips: the sizes of slices, one of each shape.
    options: what the compiler must know beside the name.
  """

  hbm: float
  chips: tuple[str, ...]
  options: tuple[tuple[str, str], ...] = ()


_2D = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_3D = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")

GENERATIONS = {
  "v2": Generation(7.48, ("2x2", "4x4", "8x8", "16x16")),
  "v3": Generation(15.48, ("2x2", "4x4", "8x8", "16x16")),
  # One device a chip, of both cores.
  "v4": Generation(30.75, _3D, (("chip_config_name", "megacore"),)),
  "v5e": Generation(15.75, _2D),
  "v5p": Generation(95.73, _3D),
  "v6e": Generation(31.24, _2D),
  "tpu7x": Generation(94.74, _3D),
}

TOPOLOGIES = tuple(
  f"{name}:{chips}"
  for name, generation in GENERATIONS.items()
  for chips in generation.chips
)


def generation(topology: str) -> Generation:
  return GENERATIONS[topology.partition(":")[0]]


def check_topology(name: str) -> None:
  """Raises an InputError that lists the right names, if it is none of them."""
  if name not in TOPOLOGIES:
    by_kind = itertools.groupby(TOPOLOGIES, lambda t: t.partition(":")[0])
    known = "; ".join(
      f"{kind}:{', '.join(t.partition(':')[2] for t in ts)}"
      for kind, ts in by_kind
    )
    raise InputError(f"unknown topology {name!r}; known are {known}")


def check_compiler() -> None:
  """Raises an InputError that says how to get it, if it is missing."""
  require(
    importlib.util.find_spec("libtpu") is not None,
    "the TPU compiler is missing: pip install libtpu",
  )


def devices(topology: str) -> Sequence[jax.Device]:
  """Returns the devices of a slice that is not there."""
  described = topologies.get_topology_desc(
    platform="tpu",
    topology_name=topology,
    **dict(generation(topology).options),
  )
  return described.devices


def num_chips(topology: str) -> int:
  """Returns how many chips a slice has; some have two devices each."""
  return math.prod(int(n) for n in topology.partition(":")[2].split("x"))
