"""The documents of packed rows, and rows made of others."""

from typing import NamedTuple

from mlm_jax.data.corruption.draws import Draws
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.vocabulary import Vocabulary


class Documents(NamedTuple):
  """The documents (or pieces of some) of rows, numbered from 0 in each.

  Attributes:
    number_BL: each token's document; padding has the last one's.
    inside_BL: is this token between its document's start and end?
    begins_BM: where the first token after each start is, 0 past the last.
    sizes_BM: how many tokens are between start and end, 0 past the last.
  """

  number_BL: tf.Tensor
  inside_BL: tf.Tensor
  begins_BM: tf.Tensor
  sizes_BM: tf.Tensor

  def of_token(self, values_BM: tf.Tensor) -> tf.Tensor:
    """Returns [B, L], what each token's document has."""
    return tf.gather(values_BM, self.number_BL, batch_dims=1)

  def draw(self, draws: Draws) -> tf.Tensor:
    """Returns random bits, uint32 [B, M], for each document."""
    return draws.bits(self.sizes_BM.shape[1])


def find_documents(rows_BL: tf.Tensor, vocab: Vocabulary) -> Documents:
  length = rows_BL.shape[1]
  is_start_BL, is_end_BL = rows_BL == vocab.start_id, rows_BL == vocab.end_id
  number_BL = tf.cumsum(tf.cast(is_start_BL, tf.int32), axis=1) - 1
  index_BL = tf.broadcast_to(tf.range(length), tf.shape(rows_BL))
  # A start and an end are the least a document has.
  most = length // 2 + 1
  begins_BM = squeeze(index_BL + 1, is_start_BL, most, 0)
  ends_BM = squeeze(index_BL, is_end_BL, most, 0)
  specials = (vocab.start_id, vocab.end_id, vocab.pad_id)
  return Documents(
    number_BL=tf.maximum(number_BL, 0),
    inside_BL=tf.reduce_all([rows_BL != i for i in specials], axis=0),
    begins_BM=begins_BM,
    sizes_BM=tf.maximum(ends_BM - begins_BM, 0),
  )


def runs_begin(where_BL: tf.Tensor) -> tf.Tensor:
  """Returns bool [B, L], where what is true begins to be so."""
  return where_BL & ~tf.pad(where_BL[:, :-1], [[0, 0], [1, 0]])


def squeeze(
  values_BL: tf.Tensor, kept_BL: tf.Tensor, length: int, fill: int
) -> tf.Tensor:
  """Returns [B, length], what is kept of each row, without gaps.

  What is over `length` is cut off; what is missing is filled.
  """
  # By a ragged tensor, which is a copy a row: a scatter costs six times as much.
  kept_B = tf.reduce_sum(tf.cast(kept_BL, tf.int64), axis=1)
  ragged = tf.RaggedTensor.from_row_lengths(
    tf.boolean_mask(values_BL, kept_BL), kept_B, validate=False
  )
  return tf.ensure_shape(
    ragged.to_tensor(fill, shape=[None, length]), [None, length]
  )


def scattered(
  places_BS: tf.Tensor, values_BS: tf.Tensor, length: int
) -> tf.Tensor:
  """Returns [B, length], the sum of the values at each place."""
  batch = tf.shape(places_BS)[0]
  rows = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(places_BS))
  where = tf.stack([rows, places_BS], axis=-1)
  return tf.scatter_nd(where, values_BS, [batch, length])
