"""Parameters to tensors by the names of a family, and back.

Hugging Face's matrices are (out, in), one for each projection; our kernels have
their inputs first, heads on an axis of their own and some projections fused.
`_tensors` alone knows the difference: applied to an array of indices, it says
which number of a parameter each number of a tensor is, which is the way back.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mlm_jax.config import EncoderConfig
from mlm_jax.errors import require
from mlm_jax.hf.families.base import Family
from mlm_jax.models import axes
from mlm_jax.models.composite import MaskedLM, init_params
from mlm_jax.vocabulary import Vocabulary

# The suffix of a tensor's name, by our leaf; arrays without a module have none.
_LEAVES = {"kernel": ".weight", "scale": ".weight", "bias": ".bias"}


def to_tensors(
  params, vocab: Vocabulary, family: Family | None
) -> dict[str, np.ndarray]:
  """Returns the tensors of a model by name, float32, tied ones once.

  Args:
    params: of a model that the family can express.
    vocab: its vocabulary.
    family: gives names and axes; None keeps our own.
  """
  params = flatten_dict(params, sep="/")
  tied = "head/table" not in params
  return {
    name: np.ascontiguousarray(tensor)
    for path, leaf in params.items()
    for name, tensor in _tensors(
      path, _scaled(path, np.asarray(leaf), family, -0.5), vocab, family, tied
    ).items()
  }


def from_tensors(
  tensors: Mapping[str, np.ndarray],
  config: EncoderConfig,
  vocab: Vocabulary,
  family: Family | None,
  model=MaskedLM,
  headless: bool = False,
) -> dict:
  """Returns the parameters, float32, that `to_tensors` maps to these tensors.

  Args:
    tensors: by name; one is looked up when it is needed, so that reading may
      be lazy.
    config: the encoder's.
    vocab: its vocabulary.
    family: gives names and axes; None for our own.
    model: the module class.
    headless: read the encoder only, and ignore all other tensors.

  Raises:
    InputError: a tensor is missing, unknown, or of another shape.
  """
  wanted = shapes(config, vocab, model)
  if headless:
    wanted = {k: v for k, v in wanted.items() if k.startswith("encoder/")}
  names = [
    name
    for path in wanted
    for name in _names(path, family, config.tie_embeddings)
  ]
  stored_names = _stored_names(tensors, names, config, family, headless)
  params = {}
  for path, like in wanted.items():
    # Index 0 stands for rows of their tables that no token uses; it is dropped.
    flat = np.zeros(like.size + 1, np.float32)
    index = np.arange(1, like.size + 1, dtype=np.int32).reshape(like.shape)
    for name, indices in _tensors(
      path, index, vocab, family, config.tie_embeddings
    ).items():
      tensor = np.asarray(tensors[stored_names[name]])
      require(
        tensor.shape == indices.shape,
        f"{stored_names[name]} has shape {list(tensor.shape)}; by config.json "
        f"it should be {list(indices.shape)}",
      )
      flat[indices] = tensor
    # One by one: the model is never in memory twice.
    leaf = _scaled(path, flat[1:].reshape(like.shape), family, 0.5)
    params[path] = jnp.array(leaf)
  return unflatten_dict(params, sep="/")


def shapes(
  config: EncoderConfig, vocab: Vocabulary, model=MaskedLM
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns the shape of each parameter of a model, by its path."""
  init = lambda: init_params(model(config, vocab.size), jax.random.key(0))
  return flatten_dict(nn.unbox(jax.eval_shape(init)), sep="/")


def _scaled(path, leaf, family, power):
  """Returns the parameter, queries times a power of the head width.

  T5 does not divide attention scores by its square root.
  """
  if family is None or not family.unscaled_queries:
    return leaf
  if axes.holds_queries(path):
    queries, *others = axes.split(path, leaf)
    scaled = queries * np.float32(leaf.shape[-1] ** power)
    return np.concatenate([scaled, *others], axis=-2) if others else scaled
  return leaf


def _tensors(path, leaf, vocab, family, tied) -> dict[str, np.ndarray]:
  """Returns the tensors of a parameter, or an array of its shape, by name."""
  if axes.axes_of(path, leaf.ndim)[0] == "V":
    # Our vocabulary is padded, theirs is not.
    leaf = leaf[: vocab.size]
  names = _names(path, family, tied)
  if family is None:
    return {names[0]: leaf}
  if path == "head/bias":
    return dict.fromkeys(names, leaf)
  if path.endswith("/position_embedding"):
    unused = family.unused_positions(vocab.pad_id)
    leaf = np.pad(leaf, ((unused, 0), (0, 0)))
  pieces = axes.split(path, leaf)
  if path.endswith("/kernel"):
    width = np.prod(leaf.shape[: axes.num_inputs(path)])
    pieces = [piece.reshape(width, -1).T for piece in pieces]
  elif path.endswith("/bias"):
    pieces = [piece.reshape(-1) for piece in pieces]
  if len(names) < len(pieces):
    pieces = [np.concatenate(pieces)]
  return dict(zip(names, pieces, strict=True))


def _names(path: str, family: Family | None, tied: bool) -> list[str]:
  """Returns the names of a parameter's tensors."""
  if family is None:
    return [path.replace("/", ".")]
  if path == "head/bias":
    (name,) = family.modules[path]
    (table,) = family.modules["head/table"]
    # A head like BERT's with a table of its own has the bias twice; the table's
    # is the one in use.
    return [name] if tied else list(dict.fromkeys([name, f"{table}.bias"]))
  if path in family.modules:
    return [f"{name}.weight" for name in family.modules[path]]
  module, _, leaf = path.rpartition("/")
  names = family.modules.get(module)
  if names is None:
    part, _, module = module.partition("/blocks_")
    number, _, module = module.partition("/")
    block, modules = family.block, family.block_modules
    if part == "decoder":
      block, modules = family.decoder_block, family.decoder_modules
    names = [f"{block.format(number)}.{name}" for name in modules[module]]
  return [name + _LEAVES[leaf] for name in names]


def _stored_names(tensors, wanted, config, family, headless) -> dict[str, str]:
  """Returns the name in `tensors` of each tensor that is wanted."""
  stored = {name: name for name in tensors}
  if family:
    stored = {_current_name(name): name for name in tensors}
    prefix, older = family.prefix + ".", family.older_prefix + "."
    if family.prefix and not any(n.startswith(prefix) for n in stored):
      # Encoders without a head may be saved without the prefix.
      bare = not any(name.startswith(older) for name in stored)
      stored = {
        prefix + name.removeprefix(older)
        if bare or name.startswith(older)
        else name: original
        for name, original in stored.items()
      }
  if family and family.decoder_block:
    # Older files have the shared table under the encoder's name alone.
    (shared,) = family.modules["encoder/token_embedding"]
    encoders = [n for n in stored if n.endswith("encoder.embed_tokens.weight")]
    for name in encoders:
      stored.setdefault(f"{shared}.weight", stored[name])
  missing = [name for name in wanted if name not in stored]
  unknown = set(stored).difference(wanted)
  if family:
    unknown -= {n for n in unknown if n.endswith(family.ignored)}
    unknown -= _tied_copies(tensors, stored, config, family)
    if headless:
      unknown = {n for n in unknown if n.startswith(prefix)}
  require(not missing, f"the weights lack {_listed(missing)}")
  names = sorted(stored[name] for name in unknown)
  require(not unknown, f"the weights have unknown {_listed(names)}")
  return stored


def _current_name(name: str) -> str:
  """Returns today's name of a tensor converted from an old TensorFlow model."""
  for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
    if name.endswith(old):
      return name.removesuffix(old) + new
  return name


def _tied_copies(tensors, stored, config, family) -> set[str]:
  """Returns the names of copies of tied tensors.

  Raises:
    InputError: a copy differs from its original.
  """
  if "head/table" not in family.modules or not config.tie_embeddings:
    return set()
  (table,) = family.modules["head/table"]
  (embedding,) = family.modules["encoder/token_embedding"]
  copies = {f"{table}.weight": f"{embedding}.weight"}
  biases = family.modules.get("head/bias", ())
  copies |= {f"{table}.bias": name for name in biases}
  copies = {k: v for k, v in copies.items() if k in stored and k != v}
  for copy, original in copies.items():
    require(
      original not in stored
      or np.array_equal(tensors[stored[copy]], tensors[stored[original]]),
      f"{stored[copy]} differs from {original}, which config.json ties it to",
    )
  return set(copies)


def _listed(names: list[str]) -> str:
  shown = ", ".join(names[:3])
  more = f" and {len(names) - 3} more" if len(names) > 3 else ""
  return shown + more
