"""Attention within the documents of packed rows: one function, many backends.

`attention` is the only way in. A backend is a module here and an entry in
`_BACKENDS`: what it `SERVES` of `Seen.asks`, what else is in its way (`refusal`),
and how it answers (`attend`). Which one serves is decided while tracing.
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
from mlm_jax.models.attention.seen import ATTENDED, Seen
from mlm_jax.models.platform import platform

_BACKENDS = {
  "dense": dense,
  "local": local,
  "chunked": chunked,
  "splash": splash,
  "cudnn": cudnn,
  "tokamax": tokamax,
}

# Shorter rows are not worth a kernel.
_SPLASH_LENGTH = 256
# Bytes of scores on a device that are worth computing twice.
_MOST_SCORES = 2 << 30


def attention(
  q_BLHK: jax.Array,
  k_BMGK: jax.Array,
  v_BMGK: jax.Array,
  *,
  segment_ids_BL: jax.Array,
  key_segment_ids_BM: jax.Array | None = None,
  causal: bool = False,
  prefix_BL: jax.Array | None = None,
  window: int = 0,
  slopes_H: jax.Array | None = None,
  bias_HLM: jax.Array | None = None,
  impl: str = "auto",
) -> jax.Array:
  """Returns what each token gathers from the tokens of its own document.

  A token that sees nothing gathers what nobody should use.

  Args:
    q_BLHK: queries.
    k_BMGK: keys; each of them serves H / G heads, neighbours of each other.
    v_BMGK: values.
    segment_ids_BL: the document of each token; padding (0) sees padding alone.
    key_segment_ids_BM: the same of the keys, where they are another row's.
    causal: does a token see none after it?
    prefix_BL: where it is not 0, what comes before it sees it, too.
    window: how many tokens around it a token sees, half to either side; 0 is
      all of its document.
    slopes_H: what a score loses by each token of distance; None is nothing.
    bias_HLM: what is added to scores; None is nothing.
    impl: the backend, or "auto".

  Raises:
    InputError: no such backend, or it cannot serve.
  """
  if impl not in ("auto", *_BACKENDS):
    raise unknown("attention backend", impl, ["auto", *_BACKENDS])
  across = key_segment_ids_BM is not None
  seen = Seen(
    segment_ids_BL,
    key_segment_ids_BM if across else segment_ids_BL,
    across=across,
    causal=causal,
    prefix_BM=prefix_BL,
    window=window,
    slopes_H=slopes_H,
    bias_HLM=bias_HLM,
  )
  if impl == "auto":
    impl = _choose(q_BLHK, k_BMGK, seen)
    _log(impl, platform(), q_BLHK.shape[1], str(q_BLHK.dtype), window)
  elif reason := _refusal(impl, q_BLHK, k_BMGK, seen):
    raise InputError(f"model.attention={impl!r} {reason}")
  x_BLHK = _BACKENDS[impl].attend(q_BLHK, k_BMGK, v_BMGK, seen)
  return checkpoint_name(x_BLHK, ATTENDED)


def _choose(q_BLHK, k_BMGK, seen) -> str:
  """Returns what should be the fastest of those that can serve."""
  can = lambda impl: not _refusal(impl, q_BLHK, k_BMGK, seen)
  length, keys = q_BLHK.shape[1], k_BMGK.shape[1]
  if platform() == "tpu" and length >= _SPLASH_LENGTH and can("splash"):
    return "splash"
  if can("local") and local.num_keys(seen.window) < keys:
    return "local"
  if platform() == "gpu" and can("cudnn"):
    return "cudnn"
  mesh = jax.sharding.get_abstract_mesh()
  devices = 1 if mesh.empty else mesh.size
  scores = math.prod(q_BLHK.shape[:3]) * keys / devices
  return "chunked" if 4 * scores > _MOST_SCORES else "dense"


def _refusal(impl, q_BLHK, k_BMGK, seen) -> str:
  """Returns why a backend cannot serve, "" if it can."""
  backend = _BACKENDS[impl]
  if lacking := seen.asks - backend.SERVES:
    return f"has none of: {', '.join(sorted(lacking))}"
  return backend.refusal(q_BLHK, k_BMGK, seen)


@functools.cache
def _log(impl, where, length, dtype, window):
  """Says once what serves which layers."""
  around = f"window {window}" if window else "whole documents"
  logging.getLogger(__name__).info(
    "attention on %s, %d tokens, %s, %s: %s", where, length, dtype, around, impl
  )
