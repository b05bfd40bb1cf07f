"""Do a model here and its copy there say the same? Run both, and compare."""

import dataclasses
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax.config import EncoderConfig
from mlm_jax.data.tokenizer import Tokenizer, Vocabulary
from mlm_jax.errors import require
from mlm_jax.hf.family import Family
from mlm_jax.models.encoder import Block, Encoder
from mlm_jax.models.heads import MaskedLM
from mlm_jax.models.layout import segments_and_positions

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
      f"{self.hidden:.1e}, more than {TOLERANCE:.0e}; this is a bug in "
      "mlm_jax, please report it",
    )


def verdict(
  params,
  config: EncoderConfig,
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
    check: False asks for no comparison.
    The others are those of `measure`.

  Raises:
    InputError: the models differ.
  """
  if family is None:
    return "has no meaning: no model of transformers computes this one"
  if not check:
    return "NOT CHECKED, as --no-parity asked: nobody compared the two models"
  if not all(map(importlib.util.find_spec, ("torch", "transformers"))):
    return "not checked: torch and transformers are not installed"
  docs = documents(tokenizer, vocab, config.max_positions)
  found = measure(params, config, vocab, docs, folder, family, headless)
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
  params,
  config: EncoderConfig,
  vocab: Vocabulary,
  docs: list[list[int]],
  folder: pathlib.Path,
  family: Family,
  headless: bool = False,
) -> Parity:
  """Returns how far our model is from the one in `folder`, run by PyTorch.

  Ours runs on the documents packed into one row, and padded, one a row; theirs
  padded, with an attention mask.

  Args:
    params: of our `MaskedLM`.
    config: its encoder's.
    vocab: its vocabulary.
    docs: the ids of each document, from start to end.
    folder: a model that transformers loads.
    family: its family.
    headless: theirs is an encoder without a head; compare hidden states alone.
  """
  name = "AutoModel" if headless else family.architecture
  real, their_hidden, their_logits = _peer(docs, vocab, folder, name)
  config = dataclasses.replace(config, dtype="float32")
  model = MaskedLM(config, vocab.size)
  flat = [token for doc in docs for token in doc]
  packed = np.array([flat + [vocab.pad_id] * 3], np.int32)
  padded = np.full(real.shape, vocab.pad_id, np.int32)
  padded[real] = flat
  logits, hidden = [0.0], []
  for ids in (packed, padded):
    our_hidden, our_logits = _ours(model, params, ids, vocab)
    tokens = ids != vocab.pad_id
    for ours, theirs in zip(our_hidden, their_hidden, strict=True):
      scale = max(1.0, np.abs(theirs[real]).max())
      hidden.append(np.abs(ours[tokens] - theirs[real]).max() / scale)
    if their_logits is not None:
      logits.append(np.abs(our_logits[tokens] - their_logits[real]).max())
  # Of numpy: where one is NaN, so is the maximum.
  return Parity(float(np.max(logits)), float(np.max(hidden)), len(flat))


def _ours(model, params, ids, vocab):
  """Returns the vectors after each block, and the logits, as numpy arrays."""

  @jax.jit
  def run(params, ids):
    segments, positions = segments_and_positions(
      ids, start_id=vocab.start_id, pad_id=vocab.pad_id
    )
    everywhere = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    logits, state = model.apply(
      {"params": params},
      *(ids, segments, positions, everywhere),
      capture_intermediates=lambda module, method: (
        isinstance(module, (Block, Encoder)) and method == "__call__"
      ),
    )
    encoder = dict(state["intermediates"]["encoder"])
    last = encoder.pop("__call__")
    # In the order of the layers; a shared block was called several times.
    blocks = sorted(encoder, key=lambda name: int(name.rpartition("_")[2]))
    hidden = [x for name in blocks for x in encoder[name]["__call__"]]
    return [*hidden[:-1], *last], logits[..., : vocab.size]

  return jax.tree.map(np.asarray, run(params, ids))


def _peer(docs, vocab, folder, class_name):
  """Returns where tokens are in the padded batch; vectors; logits or None."""
  import torch
  import transformers

  transformers.logging.set_verbosity_error()
  transformers.logging.disable_progress_bar()
  peer, told = getattr(transformers, class_name).from_pretrained(
    folder,
    dtype=torch.float32,
    local_files_only=True,
    output_loading_info=True,
  )
  # A pooler is made anew where a model was saved without.
  missing = [n for n in sorted(told["missing_keys"]) if "pooler" not in n]
  require(not missing, f"transformers finds no {', '.join(missing[:3])}")
  real = np.zeros([len(docs), max(map(len, docs))], bool)
  ids = np.full(real.shape, vocab.pad_id)
  for row, doc in enumerate(docs):
    real[row, : len(doc)] = True
    ids[row, : len(doc)] = doc
  with torch.inference_mode():
    out = peer.eval()(
      input_ids=torch.tensor(ids),
      attention_mask=torch.tensor(real).long(),
      output_hidden_states=True,
    )
  # The first are the embeddings.
  hidden = [x.numpy() for x in out.hidden_states[1:]]
  logits = getattr(out, "logits", None)
  return real, hidden, None if logits is None else logits.numpy()
