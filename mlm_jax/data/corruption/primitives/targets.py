"""Next-token targets of encoders and decoders."""

from __future__ import annotations

import math

import numpy as np

from mlm_jax import batch as batch_lib
from mlm_jax.data.corruption.primitives.documents import Documents
from mlm_jax.vocabulary import Vocabulary


def next_tokens(
  rows_BL: np.ndarray, vocab: Vocabulary
) -> dict[str, np.ndarray]:
  """Returns the batch that predicts at each token the one after it.

  The end of a document is a target, its start is not.
  """
  positions_L = np.arange(rows_BL.shape[1], dtype=np.int32)
  return {
    "input_ids": rows_BL,
    "target_positions": np.tile(positions_L, [len(rows_BL), 1]),
    **batch_lib.next_tokens(rows_BL, vocab),
  }


def next_tokens_after_prefix(
  prefix_BM: np.ndarray, rows_BL: np.ndarray, docs: Documents, vocab: Vocabulary
) -> dict[str, np.ndarray]:
  """Returns the batch that predicts each document's tokens after a prefix.

  Args:
    prefix_BM: the number of tokens in the prefix after the document's start;
      with -1 not even the start is in it.
    rows_BL: packed rows.
    docs: their documents.
    vocab: the special ids.
  """
  ends_BL = docs.gather(docs.begins_BM + prefix_BM)
  in_prefix_BL = np.arange(rows_BL.shape[1]) < ends_BL
  batch = next_tokens(rows_BL, vocab)
  batch["target_weights"][:, :-1][in_prefix_BL[:, 1:]] = 0
  is_prefix_BL = in_prefix_BL & (rows_BL != vocab.pad_id)
  return {**batch, "prefix": is_prefix_BL.astype(np.int32)}


def decoder_batch(
  input_ids_BL: np.ndarray, decoder_ids_BP: np.ndarray, vocab: Vocabulary
) -> dict[str, np.ndarray]:
  """Returns the batch whose targets are the decoder's next tokens.

  The decoder's rows are packed as the encoder's are: the start token of each
  document is in both, so that a document attends to its own in the other.
  """
  return {
    "input_ids": input_ids_BL,
    "decoder_ids": decoder_ids_BP,
    **batch_lib.next_tokens(decoder_ids_BP, vocab),
  }


def decoder_length(num_tokens: int, seq_len: int) -> int:
  """Returns P for decoders that generate up to `num_tokens` of a row.

  A multiple of 8, with an eighth more for the starts and ends of documents.
  """
  return min(2 * seq_len, 8 * math.ceil(num_tokens * 9 / 64))
