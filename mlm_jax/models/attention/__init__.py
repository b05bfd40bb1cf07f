"""Attention within the documents of packed rows: one function, many backends.

`attention` is the only entry point. A backend is a module in this folder and an
entry in `BACKENDS`. It defines

  SUPPORTS         the `AttentionMask.features` that it implements
  why_unsupported  any other obstacle (platform, dtype, shape), or ""
  attend           the computation

The backend is chosen while tracing.
"""

import functools
import logging
import math

import jax
from jax.ad_checkpoint import checkpoint_name

from mlm_jax.errors import InputError, unknown
from mlm_jax.models.attention import (
  chunked,
  cudnn,
  dense,
  local,
  splash,
  tokamax,
)
from mlm_jax.models.attention.mask import ATTENTION_OUTPUT, AttentionMask
from mlm_jax.models.platform import platform

BACKENDS = {
  "dense": dense,
  "local": local,
  "chunked": chunked,
  "splash": splash,
  "cudnn": cudnn,
  "tokamax": tokamax,
}

# A kernel does not pay off for shorter rows.
_MIN_SPLASH_LENGTH = 256
# Bytes of scores on one device, above which they are computed in chunks.
_MAX_SCORE_BYTES = 2 << 30


def attention(
  q_BLHK: jax.Array,
  k_BMGK: jax.Array,
  v_BMGK: jax.Array,
  mask: AttentionMask,
  impl: str = "auto",
) -> jax.Array:
  """Returns x_BLHK: for each query, the values weighted by its attention.

  The output of a query with no visible key is undefined.

  Args:
    q_BLHK: queries.
    k_BMGK: keys; H / G consecutive heads share each of them.
    v_BMGK: values, shared likewise.
    mask: which keys each query attends to, and what is added to the scores.
    impl: the backend, or "auto".

  Raises:
    InputError: the backend does not exist, or does not support the request.
  """
  if impl not in ("auto", *BACKENDS):
    raise unknown("attention backend", impl, ["auto", *BACKENDS])
  if impl == "auto":
    impl = choose(q_BLHK, k_BMGK, mask)
    _log(impl, platform(), q_BLHK.shape[1], str(q_BLHK.dtype), mask.window)
  elif reason := why_unsupported(impl, q_BLHK, k_BMGK, mask):
    raise InputError(f"model.attention={impl!r} {reason}")
  x_BLHK = BACKENDS[impl].attend(q_BLHK, k_BMGK, v_BMGK, mask)
  return checkpoint_name(x_BLHK, ATTENTION_OUTPUT)


def choose(
  q_BLHK: jax.Array | jax.ShapeDtypeStruct,
  k_BMGK: jax.Array | jax.ShapeDtypeStruct,
  mask: AttentionMask,
) -> str:
  """Returns the backend of "auto": the fastest that supports the request."""
  supports = lambda impl: not why_unsupported(impl, q_BLHK, k_BMGK, mask)
  length, num_keys = q_BLHK.shape[1], k_BMGK.shape[1]
  is_long = length >= _MIN_SPLASH_LENGTH
  if platform() == "tpu" and is_long and supports("splash"):
    return "splash"
  if supports("local") and local.num_keys(mask.window) < num_keys:
    return "local"
  if platform() == "gpu" and supports("cudnn"):
    return "cudnn"
  mesh = jax.sharding.get_abstract_mesh()
  num_devices = 1 if mesh.empty else mesh.size
  num_scores = math.prod(q_BLHK.shape[:3]) * num_keys / num_devices
  return "chunked" if 4 * num_scores > _MAX_SCORE_BYTES else "dense"


def why_unsupported(
  impl: str,
  q_BLHK: jax.Array | jax.ShapeDtypeStruct,
  k_BMGK: jax.Array | jax.ShapeDtypeStruct,
  mask: AttentionMask,
) -> str:
  """Returns why a backend cannot serve the request, "" if it can."""
  missing = mask.features - BACKENDS[impl].SUPPORTS
  if not missing:
    return BACKENDS[impl].why_unsupported(q_BLHK, k_BMGK, mask)
  complete = [
    name
    for name, backend in BACKENDS.items()
    if mask.features <= backend.SUPPORTS
  ]
  return (
    f"does not support: {', '.join(sorted(missing))}; "
    f"use one of: auto, {', '.join(complete)}"
  )


@functools.cache
def _log(impl, platform, length, dtype, window):
  """Logs the choice of a backend, once for each kind of layer."""
  layers = f"window {window}" if window else "whole documents"
  logging.getLogger(__name__).info(
    "attention on %s, %d tokens, %s, %s: %s",
    platform,
    length,
    dtype,
    layers,
    impl,
  )
