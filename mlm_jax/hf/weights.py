"""Parameters to tensors by the names of a family, and back.

Their matrices are (out, in); ours keep heads and gates as axes of their own,
inputs first. `_tensors` alone knows the difference: sent through it, the index
of each number says where a tensor's numbers belong, which is the way back.
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
from mlm_jax.models.composite import MaskedLM, init_params
from mlm_jax.models.heads import PER_TOKEN
from mlm_jax.vocabulary import Vocabulary

# Their name of a leaf, by ours. Modules that are one array have no leaves.
_LEAVES = {"kernel": ".weight", "scale": ".weight", "bias": ".bias"}


def to_tensors(
  params, vocab: Vocabulary, family: Family | None
) -> dict[str, np.ndarray]:
  """Returns the tensors of a model by name, float32, tied ones once.

  Args:
    params: of a `MaskedLM`, or a `Discriminator` where the family is one.
    vocab: its vocabulary.
    family: one that can express the model; None leaves our names and axes.
  """
  params = flatten_dict(params, sep="/")
  tied = "head/table" not in params
  return {
    name: np.ascontiguousarray(tensor)
    for path, leaf in params.items()
    for name, tensor in _tensors(
      path, _scaled(path, np.asarray(leaf), family), vocab, family, tied
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
  """Returns the parameters, float32, that `to_tensors` makes these tensors of.

  Args:
    tensors: by name; each is looked up by itself, so that reading may be lazy.
    config: the encoder's.
    vocab: its vocabulary.
    family: whose names these are.
    model: the module class.
    headless: read the encoder alone, whatever else is there.

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
  here = _names_here(tensors, names, config, family, headless)
  params = {}
  for path, like in wanted.items():
    # 0 stands for rows of theirs that no token uses, and is dropped.
    flat = np.zeros(like.size + 1, np.float32)
    index = np.arange(1, like.size + 1, dtype=np.int32).reshape(like.shape)
    for name, places in _tensors(
      path, index, vocab, family, config.tie_embeddings
    ).items():
      tensor = np.asarray(tensors[here[name]])
      require(
        tensor.shape == places.shape,
        f"{here[name]} has shape {list(tensor.shape)}; by config.json it is "
        f"{list(places.shape)}",
      )
      flat[places] = tensor
    # At once, or there would be two copies of everything.
    params[path] = jnp.array(flat[1:].reshape(like.shape))
  return unflatten_dict(params, sep="/")


def shapes(
  config: EncoderConfig, vocab: Vocabulary, model=MaskedLM
) -> dict[str, jax.ShapeDtypeStruct]:
  """Returns the shape of each parameter of a model, by its path."""
  init = lambda: init_params(model(config, vocab.size), jax.random.key(0))
  return flatten_dict(nn.unbox(jax.eval_shape(init)), sep="/")


def _scaled(path, leaf, family):
  """Returns a parameter with queries that need no scale, where there is none."""
  if family is None or not family.unscaled_queries:
    return leaf
  scale = leaf.shape[-1] ** -0.5
  if "cross/q/" in path:
    return leaf * scale
  if "attention/qkv/" in path:
    # The last two are the key and the value.
    return np.concatenate([leaf[..., :-2, :] * scale, leaf[..., -2:, :]], -2)
  return leaf


def _tensors(path, leaf, vocab, family, tied) -> dict[str, np.ndarray]:
  """Returns what becomes of a parameter of ours, by name."""
  if path in PER_TOKEN:
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
  pieces = [leaf]
  if "attention/qkv/" in path:
    shared = leaf.shape[-2] - 2
    pieces = np.split(leaf, [shared, shared + 1], axis=-2)
  elif "cross/kv/" in path or (
    "mlp/in/" in path and leaf.ndim == (3 if "kernel" in path else 2)
  ):
    pieces = np.split(leaf, 2, axis=-2)
  if path.endswith("kernel"):
    inputs = (
      2 if path.endswith(("attention/out/kernel", "cross/out/kernel")) else 1
    )
    width = np.prod(leaf.shape[:inputs])
    pieces = [piece.reshape(width, -1).T for piece in pieces]
  elif path.endswith("/bias"):
    pieces = [piece.reshape(-1) for piece in pieces]
  if len(names) < len(pieces):
    pieces = [np.concatenate(pieces)]
  return dict(zip(names, pieces, strict=True))


def _names(path: str, family: Family | None, tied: bool) -> list[str]:
  """Returns what the tensors of a parameter are called."""
  if family is None:
    return [path.replace("/", ".")]
  if path == "head/bias":
    (name,) = family.modules[path]
    (table,) = family.modules["head/table"]
    # With a table of its own, the head of BERT and its like has the bias twice;
    # the table's is the one in use.
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


def _names_here(tensors, wanted, config, family, headless) -> dict[str, str]:
  """Returns the name in `tensors` of each tensor that is wanted."""
  here = {name: name for name in tensors}
  if family:
    prefix = family.prefix + "."
    # Encoders without a head are kept without the prefix, too.
    bare = not any(name.startswith(prefix) for name in tensors)
    here = {(prefix if bare else "") + _newer(n): n for n in tensors}
  missing = [name for name in wanted if name not in here]
  unknown = set(here).difference(wanted)
  if family:
    unknown -= {n for n in unknown if n.endswith(family.ignored)}
    unknown -= _tied(tensors, here, config, family)
    if headless:
      unknown = {n for n in unknown if n.startswith(prefix)}
  require(not missing, _told("lack", missing))
  require(not unknown, _told("have unknown", sorted(here[n] for n in unknown)))
  return here


def _newer(name: str) -> str:
  """Returns what a tensor of TensorFlow's time is called today."""
  for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
    if name.endswith(old):
      return name.removesuffix(old) + new
  return name


def _tied(tensors, here, config, family) -> set[str]:
  """Returns the names of copies; raises where they are none."""
  if "head/table" not in family.modules or not config.tie_embeddings:
    return set()
  (table,) = family.modules["head/table"]
  (embedding,) = family.modules["encoder/token_embedding"]
  copies = {f"{table}.weight": f"{embedding}.weight"}
  copies |= {f"{table}.bias": name for name in family.modules["head/bias"]}
  copies = {k: v for k, v in copies.items() if k in here and k != v}
  for copy, original in copies.items():
    require(
      original not in here
      or np.array_equal(tensors[here[copy]], tensors[here[original]]),
      f"{here[copy]} differs from {original}, which config.json ties it to",
    )
  return set(copies)


def _told(what: str, names: list[str]) -> str:
  shown = ", ".join(names[:3])
  more = f" and {len(names) - 3} more" if len(names) > 3 else ""
  return f"the weights {what} {shown}{more}"
