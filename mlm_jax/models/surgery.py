"""A new model from the weights of another: more tokens, positions, or size.

Pure functions on the parameters of a model, float32; `grow` is for encoders.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mlm_jax import config as config_lib
from mlm_jax.config import EncoderConfig
from mlm_jax.errors import require
from mlm_jax.models.axes import axes_of, axis_sizes, num_inputs
from mlm_jax.models.encoder import (
  ATTENTION_NORM,
  MLP_NORM,
  padded_vocab_size,
  skips_attention_norm,
)

_POSITIONS = "/position_embedding"

# The keys that a larger model may have more of. Two of them have a value of 0
# that stands for another key's: the properties resolve it.
_SIZES = (*config_lib.GROWN, "max_positions")
_RESOLVED = {"num_kv_heads": "kv_heads", "embedding_width": "table_width"}


def add_tokens(params, pieces: Sequence[Sequence[int]], first_id: int) -> dict:
  """Returns the parameters for a vocabulary with more tokens at its end.

  The row and the bias of a new token are the means of those of the pieces that
  the tokenizer has split it into, so its logit is the mean of theirs. No logit
  of another token changes.

  Args:
    params: of a model.
    pieces: the ids of the pieces of each new token; an empty sequence stands
      for the mean of all tokens.
    first_id: the first new token's id, which is the size of the tokenizer's
      vocabulary so far. The padding rows from there on are overwritten.

  Returns:
    Parameters for a vocabulary of first_id + len(pieces) tokens, or of the size
    that the tables had if that is larger.
  """
  num_rows = padded_vocab_size(first_id + len(pieces))

  def extend(old):
    old = np.asarray(old)
    new = np.zeros((max(num_rows, len(old)), *old.shape[1:]), old.dtype)
    new[: len(old)] = old
    for token, ids in enumerate(pieces, first_id):
      rows = old[list(ids)] if len(ids) else old[:first_id]
      new[token] = rows.mean(axis=0)
    return new

  flat = {
    path: extend(leaf) if axes_of(path, leaf.ndim)[0] == "V" else leaf
    for path, leaf in flatten_dict(params, sep="/").items()
  }
  return unflatten_dict(flat, sep="/")


def extend_positions(
  params,
  config: EncoderConfig,
  max_positions: int,
  rope_theta: float | None = None,
) -> tuple[dict, EncoderConfig]:
  """Returns the parameters and the configuration for longer documents.

  A learned table is repeated, as Longformer's was (Beltagy et al. 2020): the
  outputs for documents within the old limit do not change, and neither do the
  distances between neighbours, both of which interpolation would change. Rotary
  and ALiBi positions have no table. A larger theta slows the rotation down:
  ModernBERT's global layers went from 10,000 to 160,000, for 8,192 tokens
  instead of 1,024.

  Args:
    params: of the model.
    config: its shape.
    max_positions: the new limit, in tokens.
    rope_theta: the new base of rotary positions; None keeps it.

  Raises:
    InputError: there are fewer positions than before, or `rope_theta` is given
      for positions that are not rotary.
  """
  require(
    max_positions >= config.max_positions,
    f"model.max_positions={max_positions} is less than the "
    f"{config.max_positions} of the model to extend",
  )
  require(
    rope_theta is None or config.position_kind == "rope",
    f"model.rope_theta does nothing for {config.position_kind} positions",
  )
  changes = {"max_positions": max_positions}
  if rope_theta is not None:
    changes["rope_theta"] = rope_theta
  flat = flatten_dict(params, sep="/")
  again = np.arange(max_positions) % config.max_positions
  for path in flat:
    if path.endswith(_POSITIONS):
      flat[path] = np.asarray(flat[path])[again]
  return unflatten_dict(flat, sep="/"), dataclasses.replace(config, **changes)


def grow(
  params, small: EncoderConfig, large: EncoderConfig, seed: int = 0
) -> dict:
  """Returns initial parameters of a large model, made from a small one's.

  Layers and axes are repeated as ModernBERT-large's were (Warner et al. 2024):
  layer i of N comes from layer round(i n / N) of n, and an axis is tiled with
  the small model's in the middle, continued cyclically on both sides. Of local
  and global layers, whole periods are repeated, so that each comes from one of
  its kind. A copy of a first layer that had no attention norm gets one, with a
  scale of one.

  ModernBERT's weights were copied unscaled, so every sum over a tiled axis
  became larger. Here the copies of an input share its weight, as in Net2Net
  (Chen et al. 2016): without more layers, a model whose width is a multiple of
  the small one's computes the same logits, whatever its mlp_width. For widths
  in between, norms count some channels once more than others. The shares are
  random, because equal copies would get equal gradients and, without dropout,
  stay equal for ever (LEMON, Wang et al. 2024).

  Args:
    params: of the small model.
    small: its shape.
    large: the shape to grow to; dropout and dtype may differ, too.
    seed: the seed of the shares.

  Raises:
    InputError: `small` cannot be grown to `large`, as `check` has it.
  """
  check(small, large)
  flat = {k: np.asarray(v) for k, v in flatten_dict(params, sep="/").items()}
  index = _tiling(small, large)
  rng = np.random.default_rng(seed)
  grown = {}
  for layer, source in enumerate(_sources(small, large)):
    prefix = f"encoder/blocks_{source}/"
    block = {k: v for k, v in flat.items() if k.startswith(prefix)}
    if layer and skips_attention_norm(small, source):
      block |= _fresh_attention_norm(block)
    for path, leaf in block.items():
      to = path.replace(prefix, f"encoder/blocks_{layer}/")
      grown[to] = _tile(path, leaf, small, index, rng)
  for path, leaf in flat.items():
    if not path.startswith("encoder/blocks_"):
      grown[path] = _tile(path, leaf, small, index, rng)
  return unflatten_dict(grown, sep="/")


def _fresh_attention_norm(block: dict[str, np.ndarray]):
  """Returns the parameters of an attention norm that changes no scale."""
  return {
    path.replace(f"/{MLP_NORM}/", f"/{ATTENTION_NORM}/"): (
      np.ones_like(leaf) if path.endswith("/scale") else np.zeros_like(leaf)
    )
    for path, leaf in block.items()
    if f"/{MLP_NORM}/" in path
  }


def check(small: EncoderConfig, large: EncoderConfig) -> None:
  """Raises InputError if `small` cannot be grown to `large`.

  The larger model may have more of `_SIZES`; keys that shape no weight may
  differ; all others must be equal.
  """
  changed = config_lib.changed(small, large, config_lib.INFERENCE)
  for name, (old, new) in changed.items():
    require(
      name in _SIZES,
      f"growing cannot turn model.{name}={old!r} into {new!r}",
    )
  for name in _SIZES:
    resolved = _RESOLVED.get(name, name)
    old, new = getattr(small, resolved), getattr(large, resolved)
    require(
      new >= old, f"growing cannot shrink model.{name} from {old} to {new}"
    )
  for name, size in (
    ("the width of a head", lambda config: config.head_width),
    ("the heads of a key", lambda c: c.num_heads // c.kv_heads),
  ):
    old, new = size(small), size(large)
    require(old == new, f"growing cannot change {name} from {old} to {new}")
  require(
    bool(small.embedding_width) == bool(large.embedding_width),
    "growing cannot add or remove a projection after the embeddings: "
    f"model.embedding_width={small.embedding_width} and "
    f"{large.embedding_width}",
  )
  require(
    small.position_kind != "alibi" or small.num_heads == large.num_heads,
    "growing cannot change model.num_heads with model.position_kind='alibi': "
    "the slope of each head depends on how many there are",
  )
  require(
    small.num_layers >= small.global_every or "num_layers" not in changed,
    f"growing cannot repeat model.num_layers={small.num_layers}: it is less "
    f"than one period of model.global_every={small.global_every} layers",
  )
  require(
    _scaled_norm(small) != "encoder/final_norm"
    or small.norm_placement == "pre"
    or "width" not in changed,
    "growing model.width with model.head_dense='none' and a tied table needs "
    "model.norm_placement='pre'",
  )


def _sources(small, large) -> list[int]:
  """Returns the small model's layer that each layer of the large copies."""
  if small.share_layers:
    return [0]
  every = small.global_every
  n, m = (config.num_layers // every for config in (small, large))
  sources = []
  for layer in range(large.num_layers):
    period, offset = divmod(layer, every)
    # Halves are rounded down: then a model twice as deep has each layer twice.
    source = n
    if period < m:
      source = min(-((m - 2 * period * n) // (2 * m)), n - 1)
    # After the last whole period, the small model's own rest if it is as long.
    if source * every + offset >= small.num_layers:
      source = n - 1
    sources.append(source * every + offset)
  return sources


def _tiling(small, large) -> dict[str, np.ndarray]:
  """Returns, by axis, the small model's index of each of the large one's."""
  old, new = axis_sizes(small), axis_sizes(large)
  index = {}
  for letter in "DEFG":
    n, m = old[letter], new[letter]
    index[letter] = (np.arange(m) - (m - n) // 2) % n
  shared = small.num_heads // small.kv_heads
  heads = index["G"][:, None] * shared + np.arange(shared)
  return index | {
    "H": heads.reshape(-1),
    # As in extend_positions: the first ones must stay the first.
    "N": np.arange(new["N"]) % old["N"],
  }


def _scaled_norm(config) -> str:
  """Returns the last norm before the logits if their table is tied, else "".

  The rows of a tied table are also the embeddings, so the shares of its
  channels, which the logits sum over, are applied to this norm instead.
  """
  if not config.tie_embeddings:
    return ""
  return "head/norm" if config.head_dense != "none" else "encoder/final_norm"


def _tile(path, leaf, small, index, rng) -> np.ndarray:
  """Returns a parameter with its axes tiled and its inputs shared."""
  letters = axes_of(path, leaf.ndim)
  summed = range(num_inputs(path))
  if path == "head/table":
    summed = [letters.index("E")]
  elif path.rpartition("/")[0] == _scaled_norm(small):
    summed = [0]
  for axis, letter in enumerate(letters):
    if letter in index:
      leaf = np.take(leaf, index[letter], axis)
  for axis in summed:
    if letters[axis] in index:
      leaf = leaf * _shares(leaf.shape, axis, index[letters[axis]], rng)
  return leaf.astype(np.float32)


def _shares(shape, axis, index, rng) -> np.ndarray:
  """Returns random shares that add up to 1 over the copies along `axis`."""
  parts = np.moveaxis(rng.uniform(0.5, 1.5, shape), axis, 0)
  totals = np.zeros((index.max() + 1, *parts.shape[1:]))
  np.add.at(totals, index, parts)
  return np.moveaxis(parts / totals[index], 0, axis)
