"""Predictions for the masks of a text."""

import jax
import jax.numpy as jnp
import numpy as np

from mlm_jax.data.tokenizers import MASK, Tokenizer
from mlm_jax.errors import require
from mlm_jax.evaluation import infill
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
  """Returns the most probable pieces for each [MASK] of a text, best first.

  In one pass, masks are predicted independently of each other. In several
  passes, later predictions see earlier ones (Mask-Predict, Ghazvininejad et
  al. 2019), and a piece's probability is that of the pass that predicted it.

  Args:
    run: the model.
    params: its parameters.
    tokenizer: its tokenizer.
    text: contains at least one [MASK].
    top_k: the number of pieces for each mask.
    passes: the number of passes.

  Returns:
    For each mask a list of (piece as text, probability); a piece that begins a
    word starts with a space.

  Raises:
    InputError: the text has no mask, or is longer than the model's positions.
  """
  vocab, longest = tokenizer.vocabulary, run.config.model.max_positions
  num_words = vocab.size - len(vocab.special_ids)
  require(
    1 <= top_k <= num_words,
    f"--top_k must be from 1 to {num_words}, not {top_k}",
  )
  require(passes >= 1, f"--passes must be positive, not {passes}")
  ids_BL = infill.encode(tokenizer, text, longest)
  masks_P = np.flatnonzero(ids_BL[0] == vocab.mask_id)
  require(masks_P.size > 0, f"there is no {MASK} in {text!r}")
  # One compilation serves similar numbers of masks.
  slots = np.resize(masks_P, -(-len(masks_P) // 8) * 8)

  def predict(ids_BP):
    ids_BL[:, masks_P] = ids_BP
    found = _top_k(run, params, vocab, ids_BL, slots, top_k)
    return [x_PK[None, : len(masks_P)] for x_PK in found]

  (ids_PK,), (probability_PK,) = infill.infill(
    predict, ids_BL[:, masks_P], vocab.mask_id, passes
  )
  return [
    [
      (tokenizer.display_text(int(i)), float(p))
      for i, p in zip(ids_K, probability_K, strict=True)
    ]
    for ids_K, probability_K in zip(ids_PK, probability_PK, strict=True)
  ]


def _top_k(run, params, vocab, ids_BL, slots, top_k):
  """Returns the ids of the best ordinary tokens and their probabilities."""
  segment_ids_BL, positions_BL = segments_and_positions(
    jnp.asarray(ids_BL), vocab
  )
  logits_BPV = run.logits(
    params, ids_BL, segment_ids_BL, positions_BL, slots[None]
  )
  # Special tokens are never predicted.
  logits_BPV = logits_BPV.at[..., np.array(vocab.special_ids)].set(-jnp.inf)
  found = jax.lax.top_k(jax.nn.softmax(logits_BPV[0]), top_k)
  probability_PK, ids_PK = jax.device_get(found)
  return ids_PK, probability_PK
