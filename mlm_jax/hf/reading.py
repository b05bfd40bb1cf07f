"""Reads a model folder: its parameters, and what they were trained for."""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict

from mlm_jax import config as config_lib
from mlm_jax.config import EncoderConfig
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import InputError, require
from mlm_jax.hf import families, files, native, parity, weights
from mlm_jax.hf.families.base import Family, Values
from mlm_jax.models.composite import (
  Discriminator,
  Electra,
  EncoderDecoder,
  MaskedLM,
  PairMaskedLM,
  init_params,
)
from mlm_jax.objectives.rtd import generator_config
from mlm_jax.vocabulary import Vocabulary

Say = Callable[[str], None]

# Layers that share their weights may be more than there are tensors.
_MAX_SHARED_LAYERS = 1_000


@dataclasses.dataclass
class Folder:
  """A model folder, and how its tensors are read.

  Attributes:
    path: of the folder.
    values: of its config.json.
    family: None for the native format.
    encoder: its encoder's configuration.
    tensors: its tensors.
  """

  path: pathlib.Path
  values: Values
  family: Family | None
  encoder: EncoderConfig
  tensors: files.Weights

  @classmethod
  def at(cls, path: pathlib.Path) -> "Folder":
    """Returns the folder at a path.

    Raises:
      InputError: it has no config.json, no weights, or is of no known family.
    """
    values, tensors = files.read_config(path), files.Weights(path)
    size = values.get("vocab_size")
    require(isinstance(size, int), "config.json lacks 'vocab_size'")
    if values.get("model_type") == native.MODEL_TYPE:
      encoder = native.read_config(values)
      _check_sizes(encoder, size, tensors)
      return cls(path, values, None, encoder, tensors)
    family = families.of_config(values, tensors)
    if family.decoder_block:
      _find_tying(values, family, tensors)
    encoder = family.read_config(values)
    _check_sizes(encoder, size, tensors)
    return cls(path, values, family, encoder, tensors)

  @property
  def name(self) -> str:
    """That of the family."""
    return self.family.model_type if self.family else native.NAME


def masked_lm(
  folder: Folder,
  tokenizer: Tokenizer,
  *,
  new_head: bool,
  check: bool,
  say: Say,
) -> dict:
  """Returns the parameters of a `MaskedLM` or an `EncoderDecoder`.

  Args:
    folder: the model's.
    tokenizer: its tokenizer, to compare on real text.
    new_head: read the encoder alone, and start from a random head.
    check: whether to check parity.
    say: receives progress messages.

  Raises:
    InputError: tensors are missing or unknown, or the models differ.
  """
  family, encoder = folder.family, folder.encoder
  vocab = _vocabulary(folder, tokenizer)
  has_decoder = encoder.num_decoder_layers > 0
  cls = EncoderDecoder if has_decoder else MaskedLM
  try:
    params = weights.from_tensors(
      folder.tensors,
      encoder,
      _counting_positions(folder, vocab, say),
      family,
      cls,
      headless=new_head,
    )
  except InputError as error:
    found = (folder.values.get("architectures") or ["?"])[0]
    is_whole = has_decoder or found == (family and family.architecture)
    if family is None or new_head or is_whole:
      raise
    raise InputError(
      f"{error}; the model is a {found}, not a {family.architecture}: "
      "--new_head imports the encoder alone with a random head"
    ) from error
  if new_head:
    params |= _random_head(encoder, vocab)
    say("Starting from a random head (--new_head)")
  with _as_spelled_today(folder, params, vocab) as path:
    verdict = parity.verdict(
      cls(encoder, vocab.size),
      params,
      vocab,
      tokenizer,
      path,
      family,
      check=check,
      headless=new_head,
    )
  say(f"Parity {verdict}")
  return params


def electra(
  folder: Folder,
  generator: Folder,
  tokenizer: Tokenizer,
  *,
  check: bool,
  say: Say,
) -> tuple[dict, float]:
  """Returns the parameters of an `Electra`, and objective.generator_share.

  Args:
    folder: the discriminator's.
    generator: the generator's.
    tokenizer: of both.
    check: whether to check the parity of both.
    say: receives progress messages.

  Raises:
    InputError: the two do not belong together, or differ from transformers'.
  """
  family = families.DISCRIMINATORS.get(folder.name)
  require(
    family and generator.name == folder.name,
    f"--generator is for ELECTRA; --from is a model of {folder.name}, "
    f"--generator of {generator.name}",
  )
  vocab, encoder = _vocabulary(folder, tokenizer), folder.encoder
  params = weights.from_tensors(
    folder.tensors, encoder, vocab, family, Discriminator
  )
  verdict = parity.verdict(
    Discriminator(encoder, vocab.size),
    params,
    vocab,
    tokenizer,
    folder.path,
    family,
    check=check,
  )
  say(f"Parity of the discriminator {verdict}")
  of_generator = masked_lm(
    generator, tokenizer, new_head=False, check=check, say=say
  )
  share = generator.encoder.width / encoder.width
  expected = generator_config(
    config_lib.Config(
      model=encoder,
      objective=config_lib.ObjectiveConfig(name="rtd", generator_share=share),
      data=config_lib.DataConfig(seq_len=8),
    )
  )
  for key, (found, wanted) in config_lib.changed(
    generator.encoder, expected, config_lib.INFERENCE
  ).items():
    raise InputError(
      f"the generator has {key}={found}, where {share:.3g} of the "
      f"discriminator makes {wanted}"
    )
  model = Electra(encoder, generator.encoder, vocab.size)
  shared = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
  return _sharing(
    shared["embeddings"], {"discriminator": params, "generator": of_generator}
  ), share


def _sharing(names: Mapping[str, Any], models: dict[str, dict]) -> dict:
  """Returns the parameters of several models, with embeddings that they share.

  Args:
    names: has the names of what they share.
    models: the parameters of each.

  Raises:
    InputError: their embeddings differ.
  """
  (first, *others) = models.values()
  shared = {name: first["encoder"][name] for name in names}
  for other in others:
    for path, leaf in flatten_dict(shared, sep="/").items():
      again = flatten_dict(other["encoder"], sep="/")[path]
      require(
        np.array_equal(leaf, again),
        f"generator and discriminator differ in encoder/{path}, which they "
        "share",
      )
  return {"embeddings": shared} | {
    name: params
    | {
      "encoder": {k: v for k, v in params["encoder"].items() if k not in names}
    }
    for name, params in models.items()
  }


def sentence_pairs(
  folder: Folder, tokenizer: Tokenizer, params: dict, *, check: bool, say: Say
) -> tuple[dict, str]:
  """Returns the parameters with a head of sentence pairs, and their kind.

  Args:
    folder: the model's.
    tokenizer: its tokenizer.
    params: those of its `MaskedLM`.
    check: whether to check parity.
    say: receives progress messages.

  Raises:
    InputError: the model has no such head, or another than transformers'.
  """
  pairs = folder.family and families.PAIRS.get(folder.name)
  require(
    pairs,
    f"--sentence_pairs: {folder.name} has no head of sentence pairs; "
    f"{' and '.join(families.PAIRS)} have",
  )
  params = params | {"pair": pairs.read(folder.tensors)}
  vocab = _vocabulary(folder, tokenizer)
  verdict = parity.pair_verdict(
    PairMaskedLM(folder.encoder, vocab.size),
    params,
    vocab,
    tokenizer,
    folder.path,
    pairs,
    check=check,
  )
  say(f"Parity {verdict}")
  return params, pairs.kind


def say_unused(folder: Folder, say: Say) -> None:
  """Names the tensors of a folder that were not read, but for buffers."""
  buffers = families.BUFFERS
  unused = sorted(n for n in folder.tensors.unread if not n.endswith(buffers))
  if unused:
    more = f" and {len(unused) - 4} more" if len(unused) > 4 else ""
    say(f"Unused tensors: {', '.join(unused[:4])}{more}")


def _find_tying(values: Values, family: Family, tensors: files.Weights) -> None:
  """Sets tie_word_embeddings: transformers 5 says it of any T5."""
  (shared,) = family.modules["encoder/token_embedding"]
  names = "lm_head.weight", f"{shared}.weight"
  if all(name in tensors for name in names):
    # What config.json says is untied need not be read twice.
    values["tie_word_embeddings"] = bool(
      values.get("tie_word_embeddings", True)
      and np.array_equal(*(tensors[name] for name in names))
    )


def _check_sizes(
  encoder: EncoderConfig, vocab_size: int, tensors: files.Weights
) -> None:
  """Checks that a model is no larger than its weights, before it is made."""
  largest = max((max(tensors.shape(n), default=0) for n in tensors), default=0)
  sizes = {"vocab_size": vocab_size, "width": encoder.width}
  sizes |= {"mlp_width": encoder.mlp_width, "num_types": encoder.num_types}
  sizes["embedding_width"] = encoder.embedding_width
  if encoder.position_kind == "learned":
    sizes["max_positions"] = encoder.max_positions
  for name, size in sizes.items():
    require(
      size <= largest,
      f"by config.json, {name} is {size}, but no tensor of the weights has "
      f"more than {largest} rows or columns",
    )
  layers = encoder.num_layers + encoder.num_decoder_layers
  require(
    layers <= (_MAX_SHARED_LAYERS if encoder.share_layers else len(tensors)),
    f"by config.json there are {layers} layers, but the weights have only "
    f"{len(tensors)} tensors",
  )


def _vocabulary(folder: Folder, tokenizer: Tokenizer) -> Vocabulary:
  # An added mask token may be past the last row of the embedding table.
  size = folder.values["vocab_size"]
  return dataclasses.replace(tokenizer.vocabulary, size=size)


def _counting_positions(
  folder: Folder, vocab: Vocabulary, say: Say
) -> Vocabulary:
  """Returns the vocabulary whose padding the position table is offset by."""
  pad_id = folder.values.get("pad_token_id")
  is_offset = folder.family and folder.family.padded_positions
  if not is_offset or pad_id in (None, vocab.pad_id):
    return vocab
  say(
    f"config.json has pad_token_id={pad_id}, the tokenizer pads with "
    f"{vocab.pad_id}: positions are counted from the first, as transformers "
    "does"
  )
  return dataclasses.replace(vocab, pad_id=pad_id)


@contextlib.contextmanager
def _as_spelled_today(
  folder: Folder, params: dict, vocab: Vocabulary
) -> Iterator[pathlib.Path]:
  """Yields the path of the model in a spelling that transformers reads."""
  if not folder.family or not folder.family.older_spelling:
    yield folder.path
    return
  with tempfile.TemporaryDirectory() as respelled:
    today = families.FAMILIES[folder.name]
    path = pathlib.Path(respelled)
    files.write_config(path, today.write_config(folder.encoder, vocab))
    files.write_weights(path, weights.to_tensors(params, vocab, today))
    yield path


def _random_head(config: EncoderConfig, vocab: Vocabulary) -> dict:
  init = lambda: init_params(MaskedLM(config, vocab.size), jax.random.key(0))
  # A head may have no parameters.
  keep = lambda params: {k: v for k, v in params.items() if k == "head"}
  return jax.jit(lambda: nn.unbox(keep(init())))()
