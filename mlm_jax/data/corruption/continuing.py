"""Nothing is hidden but what comes next: causal and prefix language models."""

from mlm_jax.data.corruption.documents import find_documents
from mlm_jax.data.corruption.draws import Draws, below
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.data.tokenizer import Vocabulary


def next_tokens(rows_BL: tf.Tensor, vocab: Vocabulary) -> dict[str, tf.Tensor]:
  """Returns the batch that asks at each token for the one after it.

  A document's end is asked for, its start is not.
  """
  length = rows_BL.shape[1]
  next_BL = tf.pad(
    rows_BL[:, 1:], [[0, 0], [0, 1]], constant_values=vocab.pad_id
  )
  is_target_BL = (next_BL != vocab.pad_id) & (next_BL != vocab.start_id)
  places_BL = tf.broadcast_to(tf.range(length), tf.shape(rows_BL))
  return {
    "input_ids": rows_BL,
    "target_positions": places_BL,
    "target_ids": next_BL,
    "target_weights": tf.cast(is_target_BL, tf.float32),
  }


def after_prefix(
  rows_BL: tf.Tensor, vocab: Vocabulary, draws: Draws
) -> dict[str, tf.Tensor]:
  """Returns the same past a prefix of each document, which all of it sees.

  It is the start and any number of tokens after it, all numbers equally likely,
  that leave something to ask for (Raffel et al. 2020). `prefix` int32 [B, L] is
  1 there.
  """
  docs = find_documents(rows_BL, vocab)
  prefix_BM = below(docs.sizes_BM + 1, docs.draw(draws))
  ends_BL = docs.of_token(docs.begins_BM + prefix_BM)
  in_prefix_BL = tf.range(rows_BL.shape[1]) < ends_BL
  batch = next_tokens(rows_BL, vocab)
  next_in_prefix_BL = tf.pad(in_prefix_BL[:, 1:], [[0, 0], [0, 1]])
  asked_BL = tf.cast(~next_in_prefix_BL, tf.float32)
  return {
    **batch,
    "target_weights": batch["target_weights"] * asked_BL,
    "prefix": tf.cast(in_prefix_BL & (rows_BL != vocab.pad_id), tf.int32),
  }
