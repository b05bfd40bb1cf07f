"""Nothing is hidden but what comes next: causal and prefix language models."""

from mlm_jax.config import CorruptionConfig
from mlm_jax.data.corruption.documents import Documents, find_documents
from mlm_jax.data.corruption.draws import Draws, below, threshold
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.vocabulary import Vocabulary


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
  return _after(prefix_BM, rows_BL, docs, vocab)


def mix(
  masked: dict[str, tf.Tensor],
  rows_BL: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> dict[str, tf.Tensor]:
  """Returns a batch some of whose rows are asked for what comes next.

  All others are as they were, and wholly a prefix: what is seen of a row says
  which of the two it is.

  Args:
    masked: the batch of masks.
    rows_BL: what it was made of.
    corruption: gives the shares.
    vocab: the special ids.
    draws: decides for each row.
  """
  docs = find_documents(rows_BL, vocab)
  which_B1 = tf.cast(draws.bits(1), tf.int64)
  has_none_B1 = which_B1 < threshold(corruption.next_token_share)
  is_continued_B1 = which_B1 < threshold(corruption.causal_share)
  prefix_BM = below(docs.sizes_BM + 1, docs.draw(draws))
  # The start stands before what is asked for, and sees itself anyway.
  prefix_BM = tf.where(has_none_B1, -1, prefix_BM)
  continued = _after(prefix_BM, rows_BL, docs, vocab)
  slots = continued["target_ids"].shape[1] - masked["target_ids"].shape[1]
  wide = {
    name: value if name == "input_ids" else tf.pad(value, [[0, 0], [0, slots]])
    for name, value in masked.items()
  }
  wide["prefix"] = tf.cast(rows_BL != vocab.pad_id, tf.int32)
  return {
    name: tf.where(is_continued_B1, value, wide[name])
    for name, value in continued.items()
  }


def _after(
  prefix_BM: tf.Tensor, rows_BL: tf.Tensor, docs: Documents, vocab: Vocabulary
) -> dict[str, tf.Tensor]:
  """Returns the batch past so many tokens after each document's start.

  With -1, not even the start is in the prefix.
  """
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
