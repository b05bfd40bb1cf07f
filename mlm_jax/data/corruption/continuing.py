"""Nothing is hidden but what comes next: causal and prefix language models."""

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
  batch, length = tf.shape(rows_BL)[0], rows_BL.shape[1]
  # By document, whose number is that of the starts before and at a token.
  document_BL = tf.cumsum(tf.cast(rows_BL == vocab.start_id, tf.int32), axis=1)
  real_BL = tf.cast(rows_BL != vocab.pad_id, tf.int32)
  rows = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(rows_BL))
  where = tf.stack([rows, document_BL], axis=-1)
  sizes_BM = tf.scatter_nd(where, real_BL, [batch, length + 1])
  # A document begins where all those before it end.
  begins_BM = tf.cumsum(sizes_BM, axis=1, exclusive=True)
  prefix_BM = 1 + below(tf.maximum(sizes_BM - 1, 0), draws.bits(length + 1))
  ends_BM = begins_BM + tf.minimum(prefix_BM, sizes_BM)
  in_prefix_BL = tf.range(length) < tf.gather(
    ends_BM, document_BL, batch_dims=1
  )
  batch = next_tokens(rows_BL, vocab)
  next_in_prefix_BL = tf.pad(in_prefix_BL[:, 1:], [[0, 0], [0, 1]])
  asked_BL = tf.cast(~next_in_prefix_BL, tf.float32)
  return {
    **batch,
    "target_weights": batch["target_weights"] * asked_BL,
    "prefix": tf.cast(in_prefix_BL, tf.int32) * real_BL,
  }
