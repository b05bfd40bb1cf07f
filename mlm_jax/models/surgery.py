"""A new model from the weights of another: more tokens, positions, or size.

Pure functions on the parameters of a `MaskedLM`, float32.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mlm_jax import config as config_lib
from mlm_jax.config import EncoderConfig
from mlm_jax.errors import require
from mlm_jax.models.encoder import normalised_already, padded_vocab_size
from mlm_jax.models.heads import PER_TOKEN

_POSITIONS = "encoder/position_embedding"

# The keys that a larger model may have more of. Two of them have a value of 0
# that stands for another key's: the properties resolve it.
_SIZES = (*config_lib.GROWN, "max_positions")
_RESOLVED = {"num_kv_heads": "kv_heads", "embedding_width": "table_width"}

# The axes of a dense layer's kernel, by the legend of this package, L for
# positions. "." stays as it is; lower case is summed over.
_DENSE = {
  "embedding_projection": ("e", "D"),
  "attention/qkv": ("d", "G.."),
  "attention/out": ("h.", "D"),
  "mlp/in": ("d", "F"),
  "mlp/out": ("f", "D"),
  "head/dense": ("d", "E"),
}
_ARRAYS = {
  "encoder/token_embedding": ".E",
  "encoder/type_embedding": ".E",
  _POSITIONS: "LE",
  "head/table": ".e",
  "head/bias": ".",
}


def add_tokens(params, made_of: Sequence[Sequence[int]], first_id: int) -> dict:
  """Returns the parameters for a vocabulary with more tokens at its end.

  The row and the bias of a new token are the means of those of the pieces that
  it was split into so far, so its logit is the mean of theirs, and no logit of
  another token changes.

  Args:
    params: of a model.
    made_of: the ids of the pieces of each new token; none is the mean of all.
    first_id: of the new tokens: as many as the tokenizer has had so far. Rows
      from there on, which stood for no token, are overwritten.

  Returns:
    Parameters for a vocabulary of first_id + len(made_of), or of what it was,
    where that is more.
  """
  num_rows = padded_vocab_size(first_id + len(made_of))

  def extend(old):
    old = np.asarray(old)
    new = np.zeros((max(num_rows, len(old)), *old.shape[1:]), old.dtype)
    new[: len(old)] = old
    for token, pieces in enumerate(made_of, first_id):
      rows = old[list(pieces)] if len(pieces) else old[:first_id]
      new[token] = rows.mean(axis=0)
    return new

  flat = flatten_dict(params, sep="/")
  flat |= {path: extend(flat[path]) for path in PER_TOKEN if path in flat}
  return unflatten_dict(flat, sep="/")


def extend_positions(
  params,
  config: EncoderConfig,
  max_positions: int,
  rope_theta: float | None = None,
) -> tuple[dict, EncoderConfig]:
  """Returns the parameters and the configuration for longer documents.

  A learned table is repeated after itself, as Longformer's was (Beltagy et al.
  2020): what is within the old limit reads exactly as before, and a token's
  neighbours are as near as they were. To interpolate the table would change
  both. Rotary and linear positions have no table; of rotary ones a larger theta
  slows the rotation down (ModernBERT's global layers went from 10,000 to
  160,000 for 8,192 tokens in the place of 1,024).

  Raises:
    InputError: fewer positions, or a theta of positions that are not rotary.
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
  if _POSITIONS in flat:
    again = np.arange(max_positions) % config.max_positions
    flat[_POSITIONS] = np.asarray(flat[_POSITIONS])[again]
  return unflatten_dict(flat, sep="/"), dataclasses.replace(config, **changes)


def grow(
  params, small: EncoderConfig, large: EncoderConfig, seed: int = 0
) -> dict:
  """Returns parameters of a large model to start from, made of a small one's.

  Layers and axes are repeated as ModernBERT-large's were (Warner et al. 2024):
  layer i of N comes from layer round(i n / N) of n, and an axis is tiled, the
  small one in the middle of the large, cyclically continued to both sides. Of
  local and global layers whole rounds are repeated, so each comes from one of
  its kind. A copy of the first layer gets a norm of ones where that layer had
  none.

  Their weights were copied as they are, so that every sum over a tiled axis
  came out larger. Here the copies of an input share its weight, as in Net2Net
  (Chen et al. 2016): without more layers, a model whose width is a multiple of
  the small one's, and whose mlp_width is anything, computes the same logits. In
  between, a norm counts some channels once more than others. The shares are
  random: equal copies would get equal gradients, and without dropout would
  remain equal for ever (LEMON, Wang et al. 2024).

  Args:
    params: of the small model.
    small: its shape.
    large: the shape to grow to; dropout and dtype may differ, too.
    seed: of the shares.

  Raises:
    InputError: `large` has less of something, or is of another kind.
  """
  check(small, large)
  flat = {k: np.asarray(v) for k, v in flatten_dict(params, sep="/").items()}
  index = _tiling(small, large)
  rng = np.random.default_rng(seed)
  grown = {}
  for layer, source in enumerate(_sources(small, large)):
    block = f"encoder/blocks_{source}/"
    parts = {k: v for k, v in flat.items() if k.startswith(block)}
    if layer and normalised_already(small, source):
      for part in [k for k in parts if "/norm_2/" in k]:
        fresh = np.ones if part.endswith("scale") else np.zeros
        parts[part.replace("norm_2", "norm_1")] = fresh(small.width, np.float32)
    for path, leaf in parts.items():
      to = path.replace(block, f"encoder/blocks_{layer}/")
      grown[to] = _tile(leaf, _axes(path, small), index, rng)
  for path, leaf in flat.items():
    if not path.startswith("encoder/blocks_"):
      grown[path] = _tile(leaf, _axes(path, small), index, rng)
  return unflatten_dict(grown, sep="/")


def check(small: EncoderConfig, large: EncoderConfig) -> None:
  """Raises InputError where `small` cannot be grown to `large`."""
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
  for what, of in (
    ("the width of a head", lambda config: config.head_width),
    ("the heads of a key", lambda c: c.num_heads // c.kv_heads),
  ):
    old, new = of(small), of(large)
    require(old == new, f"growing cannot change {what} from {old} to {new}")
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
    f"model.num_layers={small.num_layers} is no whole round of "
    f"model.global_every={small.global_every} layers to repeat",
  )
  require(
    _scaled_norm(small) != "encoder/final_norm"
    or small.norm_placement == "pre"
    or "width" not in changed,
    "growing model.width with model.head_dense='none' and a tied table needs "
    "model.norm_placement='pre'",
  )


def _sources(small, large) -> list[int]:
  """Returns the small model's layer that each layer of the large is made of."""
  if small.share_layers:
    return [0]
  every = small.global_every
  n, m = (config.num_layers // every for config in (small, large))
  sources = []
  for layer in range(large.num_layers):
    turn, place = divmod(layer, every)
    # Halves are rounded down: then a model twice as deep has each layer twice.
    source = min(-((m - 2 * turn * n) // (2 * m)), n - 1) if turn < m else n
    # What is left over after the last whole round, if the small model has it.
    if source * every + place >= small.num_layers:
      source = n - 1
    sources.append(source * every + place)
  return sources


def _tiling(small, large) -> dict[str, np.ndarray]:
  """Returns, by axis, the small model's index of each of the large one's."""

  def tiled(name):
    old, new = getattr(small, name), getattr(large, name)
    return (np.arange(new) - (new - old) // 2) % old

  shared = small.num_heads // small.kv_heads
  groups = tiled("kv_heads")
  return {
    "D": tiled("width"),
    "E": tiled("table_width"),
    "F": tiled("mlp_width"),
    "G": groups,
    "H": (groups[:, None] * shared + np.arange(shared)).reshape(-1),
    # As in extend_positions: the first ones have to remain the first.
    "L": np.arange(large.max_positions) % small.max_positions,
  }


def _scaled_norm(config) -> str:
  """Returns the last norm before the logits, where their table is tied.

  The table's rows are also what goes in, so the shares of their channels, which
  the logits sum over, are applied to what they are multiplied with.
  """
  if not config.tie_embeddings:
    return ""
  return "head/norm" if config.head_dense != "none" else "encoder/final_norm"


def _axes(path: str, config) -> str:
  if path in _ARRAYS:
    return _ARRAYS[path]
  module, _, leaf = path.rpartition("/")
  for name, (inputs, outputs) in _DENSE.items():
    if module.endswith(name):
      if name == "mlp/in" and config.glu:
        outputs = "." + outputs
      return inputs + outputs if leaf == "kernel" else outputs
  axis = "E" if module in ("encoder/embedding_norm", "head/norm") else "D"
  return axis.lower() if module == _scaled_norm(config) else axis


def _tile(leaf, axes, index, rng) -> np.ndarray:
  assert leaf.ndim == len(axes)
  for axis, letter in enumerate(axes):
    if letter != ".":
      leaf = np.take(leaf, index[letter.upper()], axis)
  for axis, letter in enumerate(axes):
    if letter.islower():
      leaf = leaf * _shares(leaf.shape, axis, index[letter.upper()], rng)
  return leaf.astype(np.float32)


def _shares(shape, axis, index, rng) -> np.ndarray:
  """Returns random shares that add up to 1 over the copies along `axis`."""
  parts = np.moveaxis(rng.uniform(0.5, 1.5, shape), axis, 0)
  totals = np.zeros((index.max() + 1, *parts.shape[1:]))
  np.add.at(totals, index, parts)
  return np.moveaxis(parts / totals[index], 0, axis)
