"""TPU slices that a program can be compiled for without hardware."""

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
  """A TPU generation.

  Attributes:
    hbm: GiB that a program may use on one device, as the compiler reports it
      for a program that needs more.
    chips: the slice sizes in chips, each in one shape.
    options: what the compiler needs beside the topology's name.
  """

  hbm: float
  chips: tuple[str, ...]
  options: tuple[tuple[str, str], ...] = ()


_2D = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_3D = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")

GENERATIONS = {
  "v2": Generation(7.48, ("2x2", "4x4", "8x8", "16x16")),
  "v3": Generation(15.48, ("2x2", "4x4", "8x8", "16x16")),
  # Both cores of a chip are one device.
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

# gcloud's name -> (generation, how much its number counts for one chip).
_GCLOUD_TYPES = {
  "v2": ("v2", 2),
  "v3": ("v3", 2),
  "v4": ("v4", 2),
  "v5litepod": ("v5e", 1),
  "v5p": ("v5p", 2),
  "v6e": ("v6e", 1),
}


def generation(topology: str) -> Generation:
  return GENERATIONS[topology.partition(":")[0]]


def topology(name: str) -> str:
  """Returns the topology for its own name or gcloud's accelerator type.

  A suffix *N means N slices that train as one (multi-slice).

  Raises:
    InputError: the name is unknown; the message lists the known ones.
  """
  one, star, slices = name.partition("*")
  kind, _, number = one.partition("-")
  if not star or (slices.isdecimal() and int(slices) > 0):
    if one in TOPOLOGIES:
      return name
    if kind in _GCLOUD_TYPES and number.isdecimal():
      kind, cores = _GCLOUD_TYPES[kind]
      for known in TOPOLOGIES:
        chips = num_chips(known)
        if known.startswith(f"{kind}:") and cores * chips == int(number):
          return f"{known}{star}{slices}"
  by_kind = itertools.groupby(TOPOLOGIES, lambda t: t.partition(":")[0])
  listed = "; ".join(
    f"{kind}:{', '.join(t.partition(':')[2] for t in ts)}"
    for kind, ts in by_kind
  )
  raise InputError(
    f"unknown topology {name!r}; known: {listed}; gcloud's types, such as "
    "v5litepod-16; and either followed by *N, for N slices"
  )


def check_compiler() -> None:
  """Raises an InputError with the install command if libtpu is missing."""
  require(
    importlib.util.find_spec("libtpu") is not None,
    "the TPU compiler is missing: pip install libtpu",
  )


def devices(topology: str) -> Sequence[jax.Device]:
  """Returns the abstract devices of one slice or several, for compiling."""
  one, _, slices = topology.partition("*")
  described = topologies.get_topology_desc(
    platform="tpu",
    topology_name=one,
    num_slices=int(slices or 1),
    **dict(generation(topology).options),
  )
  return described.devices


def num_chips(topology: str) -> int:
  """Returns the number of chips; some chips have two devices."""
  one, _, slices = topology.partition("*")
  sides = one.partition(":")[2].split("x")
  return math.prod(int(n) for n in sides) * int(slices or 1)
