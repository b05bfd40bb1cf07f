"""Next-token targets of encoders and decoders."""

from __future__ import annotations

import math

from mlm_jax.data.corruption.primitives.documents import Documents
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.vocabulary import Vocabulary


def next_tokens(rows_BL: tf.Tensor, vocab: Vocabulary) -> dict[str, tf.Tensor]:
  """Returns the batch that predicts at each token the one after it.

  The end of a document is a target, its start is not.
  """
  length = rows_BL.shape[1]
  next_BL = tf.pad(
    rows_BL[:, 1:], [[0, 0], [0, 1]], constant_values=vocab.pad_id
  )
  is_target_BL = (next_BL != vocab.pad_id) & (next_BL != vocab.start_id)
  return {
    "input_ids": rows_BL,
    "target_positions": tf.broadcast_to(tf.range(length), tf.shape(rows_BL)),
    "target_ids": next_BL,
    "target_weights": tf.cast(is_target_BL, tf.float32),
  }


def next_tokens_after_prefix(
  prefix_BM: tf.Tensor, rows_BL: tf.Tensor, docs: Documents, vocab: Vocabulary
) -> dict[str, tf.Tensor]:
  """Returns the batch that predicts each document's tokens after a prefix.

  Args:
    prefix_BM: the number of tokens in the prefix after the document's start;
      with -1 not even the start is in it.
    rows_BL: packed rows.
    docs: their documents.
    vocab: the special ids.
  """
  ends_BL = docs.gather(docs.begins_BM + prefix_BM)
  in_prefix_BL = tf.range(rows_BL.shape[1]) < ends_BL
  batch = next_tokens(rows_BL, vocab)
  next_in_prefix_BL = tf.pad(in_prefix_BL[:, 1:], [[0, 0], [0, 1]])
  after_prefix_BL = tf.cast(~next_in_prefix_BL, tf.float32)
  return {
    **batch,
    "target_weights": batch["target_weights"] * after_prefix_BL,
    "prefix": tf.cast(in_prefix_BL & (rows_BL != vocab.pad_id), tf.int32),
  }


def decoder_batch(
  input_ids_BL: tf.Tensor, decoder_ids_BP: tf.Tensor, vocab: Vocabulary
) -> dict[str, tf.Tensor]:
  """Returns the batch whose targets are the decoder's next tokens.

  The decoder's rows are packed as the encoder's are: the start token of each
  document is in both, so that a document attends to its own in the other.
  """
  targets = next_tokens(decoder_ids_BP, vocab)
  return {
    "input_ids": input_ids_BL,
    "decoder_ids": decoder_ids_BP,
    "target_ids": targets["target_ids"],
    "target_weights": targets["target_weights"],
  }


def decoder_length(num_tokens: int, seq_len: int) -> int:
  """Returns P for decoders that generate up to `num_tokens` of a row.

  A multiple of 8, with an eighth more for the starts and ends of documents.
  """
  return min(2 * seq_len, 8 * math.ceil(num_tokens * 9 / 64))
