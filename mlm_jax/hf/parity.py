"""Parity: the difference between a model and its equivalent in transformers."""

import dataclasses
import functools
import importlib.util
import itertools
import pathlib
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import InputError, first_line, require
from mlm_jax.hf import files
from mlm_jax.hf.families.base import Family
from mlm_jax.hf.families.pairs import PairHead
from mlm_jax.models.composite import (
  Discriminator,
  EncoderDecoder,
  MaskedLM,
  PairMaskedLM,
)
from mlm_jax.models.decoder import Decoder
from mlm_jax.models.encoder import Block, Encoder
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.vocabulary import Vocabulary

TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Parity:
  """The largest absolute differences between two models in float32.

  Attributes:
    logits: between logits.
    hidden: between hidden states after any block. Where a block's largest value
      exceeds 1, the difference is relative to it: float32 has seven digits.
    num_tokens: the number of tokens compared, each once packed and once padded.
  """

  logits: float
  hidden: float
  num_tokens: int

  def check(self) -> None:
    """Raises InputError if a difference exceeds TOLERANCE or is NaN."""
    require(
      self.logits <= TOLERANCE and self.hidden <= TOLERANCE,
      f"the models differ: logits by {self.logits:.1e}, hidden states by "
      f"{self.hidden:.1e}, more than {TOLERANCE:.0e}. Please report this; "
      "--no-parity skips the check",
    )


def _raising_input_errors(function):
  """Makes an InputError of whatever transformers raises of a folder."""

  @functools.wraps(function)
  def run(folder, *args):
    try:
      return function(folder, *args)
    except InputError:
      raise
    except Exception as error:
      reason = first_line(error)
      raise InputError(
        f"transformers cannot run the model in {folder}: "
        f"{type(error).__name__}: {reason}; --no-parity skips the comparison"
      ) from error

  return run


def _is_possible() -> bool:
  return all(map(importlib.util.find_spec, ("torch", "transformers")))


def verdict(
  model: nn.Module,
  params,
  vocab: Vocabulary,
  tokenizer: Tokenizer,
  folder: pathlib.Path,
  family: Family | None,
  *,
  check: bool,
  headless: bool = False,
) -> str:
  """Checks parity if possible, and returns the result as text.

  Args:
    tokenizer: tokenises the real text to compare on.
    check: False skips the check.
    model, params, vocab, folder, family, headless: as for `measure`.

  Raises:
    InputError: the models differ.
  """
  if family is None:
    return "not applicable: transformers has no equivalent model"
  if not check:
    return "NOT CHECKED: the comparison was skipped with --no-parity"
  if not _is_possible():
    return "not checked: torch and transformers are not installed"
  import transformers

  if not hasattr(transformers, family.architecture):
    version = transformers.__version__
    return f"not checked: transformers {version} has no {family.architecture}"
  docs = documents(tokenizer, vocab, model.config.max_positions)
  if family.padded_positions:
    # What config.json calls padding has no position, whatever it stands for.
    padding = files.read_config(folder).get("pad_token_id", 1)
    docs = [[i for i in doc if i != padding] for doc in docs]
  found = measure(model, params, vocab, docs, folder, family, headless)
  found.check()
  logits = f"logits differ by {found.logits:.1e} at most, "
  return (
    f"checked: {'' if headless else logits}hidden states differ by "
    f"{found.hidden:.1e} at most, in float32 over {found.num_tokens} tokens of "
    "real and random text, packed and padded"
  )


def documents(
  tokenizer: Tokenizer, vocab: Vocabulary, max_positions: int
) -> list[list[int]]:
  """Returns the ids of real and random documents of several lengths."""
  # English text that every Python ships.
  from pydoc_data.topics import topics

  text = tokenizer.encode([topics["assert"] + topics["import"]])[0]
  ordinary = np.setdiff1d(np.arange(vocab.size), vocab.special_ids)
  random = np.random.default_rng(0).choice(ordinary, 140).tolist()
  # The longest are longer than the windows of local attention.
  bodies = [text[:9], random[:0], text[9:60], random[:40], text[:130], random]
  return [
    [vocab.start_id, *body[: max_positions - 2], vocab.end_id]
    for body in bodies
  ]


def measure(
  model: nn.Module,
  params,
  vocab: Vocabulary,
  docs: list[list[int]],
  folder: pathlib.Path,
  family: Family,
  headless: bool = False,
) -> Parity:
  """Returns the differences between our model and the one in `folder`.

  Our model runs on packed rows and on rows of one document, the PyTorch model
  on rows of one document with an attention mask.

  Args:
    model: a `MaskedLM`, a `Discriminator` or an `EncoderDecoder`.
    params: its parameters.
    vocab: its vocabulary.
    docs: the ids of each document, from start to end.
    folder: a model that transformers loads.
    family: its family.
    headless: whether the PyTorch model is an encoder without a head; then only
      hidden states are compared.
  """
  # Longest first, so that packing fits all of them and one length compiles.
  docs = sorted(docs, key=len, reverse=True)
  length = min(len(docs[0]) + 1, model.config.max_positions)
  padded, packed = [[doc] for doc in docs], _pack(docs, length)
  class_name = "AutoModel" if headless else family.architecture
  # First, so that the weights are in memory twice, not three times.
  theirs = _peer_outputs(folder, vocab, family, class_name, padded, length)
  # Scanned layers do not expose the output of each block.
  config = dataclasses.replace(model.config, dtype="float32", scan_layers=False)
  run = _runner(model.clone(config=config), vocab, params)
  logits, hidden = 0.0, 0.0
  for rows in (padded, packed):
    ours = _outputs(run, rows, length, vocab)
    if headless:
      ours = ours[1:]
    for index, (a, b) in enumerate(zip(ours, theirs, strict=True)):
      difference = np.abs(a - b).max()
      # np.maximum propagates NaN, max does not.
      if index == 0 and not headless:
        logits = np.maximum(logits, difference)
      else:
        scale = max(1.0, np.abs(b).max())
        hidden = np.maximum(hidden, difference / scale)
  return Parity(float(logits), float(hidden), sum(map(len, docs)))


def pair_verdict(
  model: PairMaskedLM,
  params,
  vocab: Vocabulary,
  tokenizer: Tokenizer,
  folder: pathlib.Path,
  pairs: PairHead,
  *,
  check: bool,
) -> str:
  """Checks the parity of a head of sentence pairs, and says so.

  Args:
    pairs: the names of the head.
    model, params, vocab, tokenizer, folder, check: as for `verdict`.

  Raises:
    InputError: the heads differ.
  """
  if not check or not _is_possible():
    return "of the head of pairs not checked"
  docs = documents(tokenizer, vocab, model.config.max_positions // 2)
  rows = [one + other[1:] for one, other in itertools.pairwise(docs)]
  ids, mask = padded(rows, vocab.pad_id)
  types = mask.copy()
  for row, one in zip(types, docs, strict=False):
    row[: len(one)] = 0
  segments, positions = segments_and_positions(ids, vocab)
  config = dataclasses.replace(model.config, dtype="float32")
  with jax.default_matmul_precision("highest"):
    _, ours = model.clone(config=config).apply(
      {"params": params}, ids, segments, positions, positions, types
    )
  theirs = _peer_pairs(folder, pairs, ids, types, mask)
  difference = float(np.abs(np.asarray(ours) - theirs).max())
  require(
    difference <= TOLERANCE,
    f"the heads of sentence pairs differ by {difference:.1e}. Please report "
    "this; --no-parity skips the check",
  )
  return f"of the head of pairs checked: logits differ by {difference:.1e}"


@_raising_input_errors
def _peer_pairs(folder, pairs, ids, types, mask) -> np.ndarray:
  """Returns how much likelier transformers finds each pair in order."""
  import torch

  peer = load_peer(folder, pairs.architecture)
  ids, types, mask = (
    torch.tensor(array).long() for array in (ids, types, mask)
  )
  with torch.inference_mode():
    out = peer(input_ids=ids, token_type_ids=types, attention_mask=mask)
  logits = out[pairs.logits].numpy()
  return logits[:, 0] - logits[:, 1]


def padded(
  rows: Sequence[Sequence[int]], pad_id: int
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the padded rows and their attention mask, int32 [B, L]."""
  ids_BL = np.full([len(rows), max(map(len, rows))], pad_id, np.int32)
  mask_BL = np.zeros_like(ids_BL)
  for number, row in enumerate(rows):
    ids_BL[number, : len(row)], mask_BL[number, : len(row)] = row, 1
  return ids_BL, mask_BL


def _pack(docs, length) -> list[list[list[int]]]:
  """Returns rows of documents, at most `length` tokens a row."""
  rows = [[]]
  for doc in docs:
    if sum(map(len, rows[-1])) + len(doc) > length:
      rows.append([])
    rows[-1].append(doc)
  return rows


def _outputs(run, rows, length, vocab) -> list[np.ndarray]:
  """Returns each output of a model over the tokens of all rows, unpadded."""
  by_row = []
  for row in rows:
    ids = np.full([1, length], vocab.pad_id, np.int32)
    flat = [token for doc in row for token in doc]
    ids[0, : len(flat)] = flat
    by_row.append([np.asarray(array)[0, : len(flat)] for array in run(ids)])
  return [np.concatenate(output) for output in zip(*by_row, strict=True)]


def _runner(model, vocab, params):
  """Returns a function ids -> logits, then the hidden states of each block."""

  @jax.jit
  def run(params, ids):
    arrays = segments_and_positions(ids, vocab)
    arrays, stacks = [ids, *arrays], ["encoder"]
    if isinstance(model, MaskedLM):
      arrays += [jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)]
    elif isinstance(model, EncoderDecoder):
      # The decoder gets the same text as the encoder.
      arrays, stacks = [*arrays, *arrays], ["encoder", "decoder"]
    logits, state = model.apply(
      {"params": params},
      *arrays,
      capture_intermediates=lambda module, method: (
        isinstance(module, (Block, Encoder, Decoder)) and method == "__call__"
      ),
    )
    if not isinstance(model, Discriminator):
      logits = logits.logits_BPV[..., : vocab.size]
    hidden = [logits]
    for stack in stacks:
      outputs = dict(state["intermediates"][stack])
      last = outputs.pop("__call__")
      # In the order of the layers; a shared block is called several times.
      blocks = sorted(outputs, key=lambda name: int(name.rpartition("_")[2]))
      found = [x for name in blocks for x in outputs[name]["__call__"]]
      # The last block's output is compared after the final norm.
      hidden += [*found[:-1], *last]
    return hidden

  def exact(ids):
    # By default, accelerators multiply float32 with reduced precision.
    with jax.default_matmul_precision("highest"):
      return run(params, ids)

  return exact


@_raising_input_errors
def _peer_outputs(folder, vocab, family, class_name, rows, length):
  return _outputs(_peer(vocab, folder, family, class_name), rows, length, vocab)


def _peer(vocab, folder, family, class_name):
  """Returns the same function as `_runner` for the PyTorch model in `folder`.

  It returns no logits if the model has no head.
  """
  import torch

  peer = load_peer(folder, class_name)

  def run(ids):
    tokens = torch.tensor(ids).long()
    decoder = {"decoder_input_ids": tokens} if family.decoder_block else {}
    with torch.inference_mode():
      out = peer(
        input_ids=tokens,
        attention_mask=torch.tensor(ids != vocab.pad_id).long(),
        output_hidden_states=True,
        **decoder,
      )
    found = [out.logits] if "logits" in out else []
    names = ["encoder_hidden_states", "decoder_hidden_states"]
    for name in names if decoder else ["hidden_states"]:
      # The first of them are the embeddings.
      found += out[name][1:]
    return [x.numpy() for x in found]

  return run


def load_peer(folder: pathlib.Path, class_name: str, **options):
  """Returns the PyTorch model of a folder, in float32.

  Args:
    folder: what transformers loads.
    class_name: of the class of transformers.
    **options: of its `from_pretrained`.

  Raises:
    InputError: the folder lacks weights of the class.
  """
  import torch
  import transformers

  transformers.logging.set_verbosity_error()
  transformers.logging.disable_progress_bar()
  peer, loaded = getattr(transformers, class_name).from_pretrained(
    folder,
    dtype=torch.float32,
    local_files_only=True,
    use_safetensors=True,
    output_loading_info=True,
    **options,
  )
  # A model saved without a pooler gets a random one, which is not compared.
  missing = [n for n in sorted(loaded["missing_keys"]) if "pooler" not in n]
  require(not missing, f"the weights lack {', '.join(missing[:3])}")
  return peer.eval()
