"""What a model would put in the place of [MASK]."""

import re
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax.data.tokenizers import MASK, Tokenizer
from mlm_jax.errors import InputError, require
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.training.run import Run


def fill_mask(
  run: Run,
  params,
  tokenizer: Tokenizer,
  text: str,
  top_k: int = 5,
  passes: int = 1,
) -> list[list[tuple[str, float]]]:
  """Returns, for each [MASK] of `text`, the likeliest pieces, best first.

  In one pass masks are filled independently of each other. In several, each
  leaves only the likelier pieces standing, fewer of them masked from pass to
  pass, and what is filled in later sees what stands (Mask-Predict, Ghazvininejad
  et al. 2019); a piece is listed with the probability of the pass that put it
  there.

  Args:
    run: the model.
    params: its parameters.
    tokenizer: its tokenizer.
    text: at least one [MASK] stands in it.
    top_k: how many pieces a mask.
    passes: T of Mask-Predict.

  Returns:
    A list for each mask of (reading of the piece, probability); a word begins
    with a space.

  Raises:
    InputError: no mask, or the text is longer than the model's positions.
  """
  vocab = tokenizer.vocabulary
  words = vocab.size - len(vocab.special_ids)
  require(
    1 <= top_k <= words, f"--top_k must be from 1 to {words}, not {top_k}"
  )
  require(passes >= 1, f"--passes must be positive, not {passes}")
  ids = tokenizer.encode_with_masks(text)
  ids = np.array([vocab.start_id, *ids, vocab.end_id])
  masks = np.flatnonzero(ids == vocab.mask_id)
  if not masks.size:
    raise InputError(f"there is no {MASK} in {text!r}")
  longest = run.config.model.max_positions
  if len(ids) > longest:
    raise InputError(
      f"the text has {len(ids)} tokens, the model takes {longest}"
    )
  # One compilation serves texts of similar lengths and numbers of masks.
  length = min(longest, -(-len(ids) // 32) * 32)
  slots = np.resize(masks, -(-len(masks) // 8) * 8)
  ids_BL = np.full([1, length], vocab.pad_id, np.int32)
  ids_BL[0, : len(ids)] = ids
  top_PK = np.zeros([len(masks), top_k])
  ids_PK = np.zeros([len(masks), top_k], np.int32)
  hidden_P = np.ones([len(masks)], bool)
  for number in range(1, passes + 1):
    new_PK, new_ids_PK = _likeliest(run, params, vocab, ids_BL, slots, top_k)
    top_PK[hidden_P] = new_PK[: len(masks)][hidden_P]
    ids_PK[hidden_P] = new_ids_PK[: len(masks)][hidden_P]
    ids_BL[0, masks] = ids_PK[:, 0]
    hidden_P = least_sure(top_PK[:, 0], number, passes)
    if not hidden_P.any():
      break
    ids_BL[0, masks[hidden_P]] = vocab.mask_id
  return [
    [
      (tokenizer.display_text(int(i)), float(p))
      for i, p in zip(ids_K, top_K, strict=True)
    ]
    for ids_K, top_K in zip(ids_PK, top_PK, strict=True)
  ]


def least_sure(sure_P: np.ndarray, done: int, passes: int) -> np.ndarray:
  """Returns bool [P], which to ask for again after `done` of the passes.

  Those that are the least sure, linearly fewer of them each time.
  """
  again = len(sure_P) * (passes - done) // passes
  hidden_P = np.zeros(len(sure_P), bool)
  hidden_P[np.argsort(sure_P)[:again]] = True
  return hidden_P


def _likeliest(run, params, vocab, ids_BL, slots, top_k):
  segment_ids_BL, positions_BL = segments_and_positions(
    jnp.asarray(ids_BL), start_id=vocab.start_id, pad_id=vocab.pad_id
  )
  logits_BPV = run.logits(
    params, ids_BL, segment_ids_BL, positions_BL, slots[None]
  )
  # A special token fills no blank.
  logits_BPV = logits_BPV.at[..., np.array(vocab.special_ids)].set(-jnp.inf)
  found = jax.lax.top_k(jax.nn.softmax(logits_BPV[0]), top_k)
  return jax.device_get(found)


def describe(
  text: str,
  guesses: Sequence[Sequence[tuple[str, float]]],
  mask_token: str = MASK,
) -> list[str]:
  """Returns lines for a person: the guesses for each mask, then the text."""
  lines = []
  for number, guess in enumerate(guesses, 1):
    label = f"{MASK} {number}" if len(guesses) > 1 else MASK
    shown = "  ".join(f"{_word(reading)} {p:.1%}" for reading, p in guess)
    lines.append(f"  {label}: {shown}")
  filled = text.replace(mask_token, MASK)
  for guess in guesses:
    reading = guess[0][0]
    # A piece that continues a word closes the gap before it.
    gap = "" if reading.startswith(" ") else " ?"
    before, after = re.split(gap + re.escape(MASK), filled, maxsplit=1)
    filled = before + reading.removeprefix(" ") + after
  return [filled, *lines]


def _word(reading: str) -> str:
  return reading[1:] or "▁" if reading.startswith(" ") else f"…{reading}"
