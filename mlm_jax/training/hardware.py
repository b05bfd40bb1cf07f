"""The peak FLOP/s of devices, by which the utilisation is measured."""

import functools
import time

import jax
import jax.numpy as jnp

# Dense bfloat16 FLOP/s of one JAX device, by the start of its kind's name, from
# the vendors' data sheets. (A TPU v2, v3 or 7x device is half a chip.)
_PEAKS = {
  "TPU v2": 22.5e12,
  "TPU v3": 61.5e12,
  "TPU v4": 275e12,
  "TPU v5 lite": 197e12,
  "TPU v5e": 197e12,
  "TPU v5": 459e12,
  "TPU v6": 918e12,
  "TPU7x": 1153.5e12,
  "NVIDIA H100": 989e12,
  "NVIDIA H200": 989e12,
  "NVIDIA A100": 312e12,
  "NVIDIA L40S": 362e12,
  "NVIDIA L40": 181e12,
  "NVIDIA L4": 121e12,
  "Tesla V100": 125e12,
  "Tesla T4": 65e12,
}


@functools.cache
def peak_flops() -> float | None:
  """Returns the FLOP/s of one device, None for an unknown kind.

  From a table for accelerators, measured for a CPU.
  """
  device = jax.devices()[0]
  if device.platform == "cpu":
    return _measure() / jax.local_device_count()
  return peak_of(device.device_kind)


def peak_of(device_kind: str) -> float | None:
  """Returns the same for a kind of accelerator."""
  for kind, peak in _PEAKS.items():
    if device_kind.startswith(kind):
      return peak
  return None


def utilisation(rate: float | None, peak: float | None) -> float | None:
  """Returns the share of the peak; None where that was not measured well.

  A CPU that is busy while its peak is measured seems to exceed it later.
  """
  if not rate or not peak or rate > peak:
    return None
  return round(rate / peak, 4)


def _measure(width=1024, times=5):
  x = jnp.ones([width, width])
  matmul = jax.jit(jnp.matmul)
  matmul(x, x).block_until_ready()
  best = float("inf")
  for _ in range(times):
    start = time.perf_counter()
    matmul(x, x).block_until_ready()
    best = min(best, time.perf_counter() - start)
  return 2 * width**3 / best
