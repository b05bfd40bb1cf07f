"""Fills masks in several passes, most confident first (Mask-Predict)."""

from collections.abc import Callable

import numpy as np

from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import require
from mlm_jax.vocabulary import Vocabulary


def infill(
  predict: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
  ids_BP: np.ndarray,
  mask_id: int,
  passes: int,
) -> tuple[np.ndarray, np.ndarray]:
  """Predicts masked tokens, then predicts the least confident ones again.

  After each pass the least confident of the predicted tokens are masked, in
  linearly decreasing number, and predicted given the others (Ghazvininejad et
  al. 2019).

  Args:
    predict: token ids [B, P] -> the ids of the K best tokens at each position,
      best first, and their confidences, both [B, P, K].
    ids_BP: token ids; those equal to `mask_id` are to be filled.
    mask_id: the id of the mask token.
    passes: in one pass, tokens are predicted independently of each other.

  Returns:
    Ids and confidences [B, P, K] from the pass that last predicted each token.
  """
  to_fill_BP = ids_BP == mask_id
  masked_BP, ids_BPK = to_fill_BP.copy(), ids_BP[..., None]
  confidence_BPK = np.zeros(ids_BPK.shape)
  for done in range(1, passes + 1):
    new_ids_BPK, new_BPK = predict(ids_BP)
    ids_BPK = np.where(masked_BP[..., None], new_ids_BPK, ids_BPK)
    confidence_BPK = np.where(masked_BP[..., None], new_BPK, confidence_BPK)
    ids_BP = ids_BPK[..., 0]
    for row, filled in enumerate(map(np.flatnonzero, to_fill_BP)):
      confidence_F = confidence_BPK[row, filled, 0]
      masked_BP[row, filled] = least_confident(confidence_F, done, passes)
    if not masked_BP.any():
      break
    ids_BP = np.where(masked_BP, mask_id, ids_BP)
  return ids_BPK, confidence_BPK


def least_confident(
  confidence_F: np.ndarray, done: int, passes: int
) -> np.ndarray:
  """Returns bool [F]: which tokens to mask again after `done` passes."""
  count = len(confidence_F) * (passes - done) // passes
  masked_F = np.zeros(len(confidence_F), bool)
  masked_F[np.argsort(confidence_F)[:count]] = True
  return masked_F


def encode(tokenizer: Tokenizer, text: str, longest: int) -> np.ndarray:
  """Returns the ids of a text with start and end token, padded, int32 [1, L].

  Raises:
    InputError: the text has more than `longest` tokens.
  """
  vocab = tokenizer.vocabulary
  ids = [vocab.start_id, *tokenizer.encode_with_masks(text), vocab.end_id]
  require(
    len(ids) <= longest,
    f"the text has {len(ids)} tokens; the model takes {longest}",
  )
  return pad(np.array([ids]), longest, vocab)


def pad(ids_BL: np.ndarray, longest: int, vocab: Vocabulary) -> np.ndarray:
  """Returns int32 rows padded to a multiple of 32: few shapes compile."""
  length = ids_BL.shape[1]
  padding = min(longest, -(-length // 32) * 32) - length
  ids_BL = np.pad(ids_BL, ((0, 0), (0, padding)), constant_values=vocab.pad_id)
  return ids_BL.astype(np.int32)
