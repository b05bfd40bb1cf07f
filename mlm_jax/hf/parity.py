"""Do a model here and its copy there say the same? Run both, and compare."""

import dataclasses
import importlib.util
import pathlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import require
from mlm_jax.hf.families.base import Family
from mlm_jax.models.composite import Discriminator, EncoderDecoder, MaskedLM
from mlm_jax.models.decoder import Decoder
from mlm_jax.models.encoder import Block, Encoder
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.vocabulary import Vocabulary

TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Parity:
  """The largest differences between two models, float32.

  Attributes:
    logits: between logits.
    hidden: between the vectors after any block, of which those over 1 count
      relative to the largest of their block: float32 has seven digits.
    num_tokens: over how many tokens, each once packed and once padded.
  """

  logits: float
  hidden: float
  num_tokens: int

  def check(self) -> None:
    """Raises InputError over TOLERANCE."""
    # A NaN is under nothing.
    require(
      self.logits <= TOLERANCE and self.hidden <= TOLERANCE,
      f"the models differ: logits by {self.logits:.1e}, hidden states by "
      f"{self.hidden:.1e}, more than {TOLERANCE:.0e}. Please report it; "
      "--no-parity goes on all the same",
    )


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
  """Returns what is known of parity, in words; runs both models if it can.

  Args:
    tokenizer: makes the documents of real text.
    check: False asks for no comparison.
    model, params, vocab, folder, family, headless: as `measure` takes them.

  Raises:
    InputError: the models differ.
  """
  if family is None:
    return "has no meaning: no model of transformers computes this one"
  if not check:
    return "NOT CHECKED, as --no-parity asked: nobody compared the two models"
  if not all(map(importlib.util.find_spec, ("torch", "transformers"))):
    return "not checked: torch and transformers are not installed"
  import transformers

  if not hasattr(transformers, family.architecture):
    version = transformers.__version__
    return f"not checked: transformers {version} has no {family.architecture}"
  docs = documents(tokenizer, vocab, model.config.max_positions)
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
  """Returns ids of real text and of random tokens, short and long."""
  # English that every Python holds.
  from pydoc_data.topics import topics

  text = tokenizer.encode([topics["assert"] + topics["import"]])[0]
  ordinary = np.setdiff1d(np.arange(vocab.size), vocab.special_ids)
  random = np.random.default_rng(0).choice(ordinary, 200).tolist()
  bodies = [text[:9], random[:0], text[9:60], random[:40], text[:170], random]
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
  """Returns how far our model is from the one in `folder`, run by PyTorch.

  Ours runs on rows of several documents, and of one; theirs on rows of one, with
  an attention mask.

  Args:
    model: a `MaskedLM`, a `Discriminator` or an `EncoderDecoder`.
    params: its parameters.
    vocab: its vocabulary.
    docs: the ids of each document, from start to end.
    folder: a model that transformers loads.
    family: its family.
    headless: theirs is an encoder without a head; compare hidden states alone.
  """
  # The longest first: then each fits where it is put, and one length compiles.
  docs = sorted(docs, key=len, reverse=True)
  length = len(docs[0]) + 1
  alone = [[doc] for doc in docs]
  together = [[]]
  for doc in docs:
    if sum(map(len, together[-1])) + len(doc) > length:
      together.append([])
    together[-1].append(doc)
  # Before ours: then the weights are never in memory three times.
  class_name = "AutoModel" if headless else family.architecture
  theirs = _outputs(
    _peer(vocab, folder, family, class_name), alone, length, vocab
  )
  # In a loop, nobody sees what each block does.
  config = dataclasses.replace(model.config, dtype="float32", scan_layers=False)
  run = _runner(model.clone(config=config), vocab, params)
  logits, hidden = 0.0, 0.0
  for rows in (alone, together):
    ours = _outputs(run, rows, length, vocab)
    if headless:
      ours = ours[1:]
    for place, (a, b) in enumerate(zip(ours, theirs, strict=True)):
      difference = np.abs(a - b).max()
      # Of numpy: where one is NaN, so is the maximum.
      if place == 0 and not headless:
        logits = np.maximum(logits, difference)
      else:
        scale = max(1.0, np.abs(b).max())
        hidden = np.maximum(hidden, difference / scale)
  return Parity(float(logits), float(hidden), sum(map(len, docs)))


def _outputs(run, rows, length, vocab) -> list[np.ndarray]:
  """Returns each output over the tokens of all rows, padding left out."""
  parts = []
  for row in rows:
    ids = np.full([1, length], vocab.pad_id, np.int32)
    flat = [token for doc in row for token in doc]
    ids[0, : len(flat)] = flat
    parts.append([np.asarray(array)[0, : len(flat)] for array in run(ids)])
  return [np.concatenate(same) for same in zip(*parts, strict=True)]


def _runner(model, vocab, params):
  """Returns a function of ids: logits, then the vectors after each block."""

  @jax.jit
  def run(params, ids):
    arrays = segments_and_positions(
      ids, start_id=vocab.start_id, pad_id=vocab.pad_id
    )
    arrays, parts = [ids, *arrays], ["encoder"]
    if isinstance(model, MaskedLM):
      arrays += [jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)]
    elif isinstance(model, EncoderDecoder):
      # A text is read, and said.
      arrays, parts = [*arrays, *arrays], ["encoder", "decoder"]
    logits, state = model.apply(
      {"params": params},
      *arrays,
      capture_intermediates=lambda module, method: (
        isinstance(module, (Block, Encoder, Decoder)) and method == "__call__"
      ),
    )
    if not isinstance(model, Discriminator):
      logits = logits[..., : vocab.size]
    hidden = [logits]
    for part in parts:
      made = dict(state["intermediates"][part])
      last = made.pop("__call__")
      # In the order of the layers; a shared block was called several times.
      blocks = sorted(made, key=lambda name: int(name.rpartition("_")[2]))
      found = [x for name in blocks for x in made[name]["__call__"]]
      hidden += [*found[:-1], *last]
    return hidden

  def exact(ids):
    # Accelerators multiply float32 in fewer bits unless told not to.
    with jax.default_matmul_precision("highest"):
      return run(params, ids)

  return exact


def _peer(vocab, folder, family, class_name):
  """Returns the function that `_runner` does, of PyTorch.

  Without a head, it returns no logits.
  """
  import torch
  import transformers

  transformers.logging.set_verbosity_error()
  transformers.logging.disable_progress_bar()
  peer, told = getattr(transformers, class_name).from_pretrained(
    folder,
    dtype=torch.float32,
    local_files_only=True,
    use_safetensors=True,
    output_loading_info=True,
  )
  # A pooler is made anew where a model was saved without.
  missing = [n for n in sorted(told["missing_keys"]) if "pooler" not in n]
  require(not missing, f"transformers finds no {', '.join(missing[:3])}")
  peer.eval()

  def run(ids):
    tokens = torch.tensor(ids).long()
    said = {"decoder_input_ids": tokens} if family.decoder_block else {}
    with torch.inference_mode():
      out = peer(
        input_ids=tokens,
        attention_mask=torch.tensor(ids != vocab.pad_id).long(),
        output_hidden_states=True,
        **said,
      )
    found = [out.logits] if "logits" in out else []
    names = ["encoder_hidden_states", "decoder_hidden_states"]
    for name in names if said else ["hidden_states"]:
      # The first are the embeddings.
      found += out[name][1:]
    return [x.numpy() for x in found]

  return run
