"""The C library's allocator, told to keep what a training step frees."""

import ctypes
import importlib.util
import os

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
  """Spares a step on the CPU the page faults of its temporary memory.

  XLA allocates all of it anew at each step, and glibc gives blocks of that size
  back to the system at once: 33,000 faults a step, a fifth of the time, at 4
  layers of 256 (bench/train_step.py). In one arena, for the whole process, they
  are kept and used again.

  Call it before JAX has made its threads, which then have that one arena. Where
  JAX would find an accelerator, or the C library is another, nothing happens.
  """
  if not _will_be_cpu():
    return
  try:
    mallopt = ctypes.CDLL("libc.so.6").mallopt
  except (OSError, AttributeError):
    return
  # Older ones refuse so high a threshold: then all had better stay as it is.
  if mallopt(_M_MMAP_THRESHOLD, _NEVER):
    mallopt(_M_TRIM_THRESHOLD, _NEVER)
    mallopt(_M_ARENA_MAX, 1)


def _will_be_cpu() -> bool:
  # Asking JAX would make the threads.
  asked = os.environ.get("JAX_PLATFORMS")
  if asked:
    return asked == "cpu"
  return not any(map(importlib.util.find_spec, ("libtpu", "jax_plugins")))
