"""Sentence pairs: a document cut in two, and whether its halves belong so.

Rows have one document each. It is cut where a sentence begins, or if it is one
sentence, where a word does: [start] first [end] second [end].
"""

from typing import NamedTuple

from mlm_jax.data.corruption.draws import Draws, below, threshold
from mlm_jax.data.corruption.sentences import sentence_starts
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.vocabulary import Vocabulary

# Above all random numbers: a better place has a greater key.
_BETTER = 1 << 28


class Stretch(NamedTuple):
  """Of each row, some of its tokens.

  Attributes:
    rows_BL: the rows.
    begin_B: where the first of them is.
    size_B: how many they are.
  """

  rows_BL: tf.Tensor
  begin_B: tf.Tensor
  size_B: tf.Tensor


def next_sentence(
  rows_NL: tf.Tensor, vocab: Vocabulary, draws: Draws
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
  """Returns rows of pairs whose second follows, or is of the next row.

  One is as likely as the other, and both are as long as the shorter of the two,
  so that lengths tell nothing (Devlin et al. 2019).

  Args:
    rows_NL: one more than there are to be pairs.
    vocab: which pieces begin sentences and words.
    draws: for as many rows.
  """
  first_N, second_N = _cut(rows_NL, vocab, draws)
  first, own = (
    Stretch(*(x[:-1] for x in side)) for side in (first_N, second_N)
  )
  next_rows = Stretch(*(x[1:] for x in second_N))
  follows_B = _coin(draws)[:-1]
  second = _either(follows_B, own, next_rows)
  size_B = tf.minimum(own.size_B, next_rows.size_B)
  return _join(first, second._replace(size_B=size_B), follows_B, vocab)


def sentence_order(
  rows_BL: tf.Tensor, vocab: Vocabulary, draws: Draws
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
  """Returns rows of pairs that stand as they stood, or the other way round.

  One is as likely as the other (Lan et al. 2020).
  """
  first, second = _cut(rows_BL, vocab, draws)
  # What is no pair stays as it is.
  ordered_B = _coin(draws) | (second.size_B == 0)
  return _join(
    _either(ordered_B, first, second),
    _either(ordered_B, second, first),
    ordered_B,
    vocab,
  )


def _cut(rows_BL, vocab, draws) -> tuple[Stretch, Stretch]:
  """Returns both sides of a random sentence's start; the second may be empty.

  Together they are short enough for one more end.
  """
  length = rows_BL.shape[1]
  real_B = tf.reduce_sum(tf.cast(rows_BL != vocab.pad_id, tf.int32), axis=1)
  ends_B = tf.clip_by_value(real_B - 1, 1, length - 2)
  index_L = tf.range(length)
  is_place_BL = (index_L > 1) & (index_L < ends_B[:, None])
  word_BL = tf.cast(tf.gather(vocab.starts_word, rows_BL), tf.int32)
  better_BL = tf.where(sentence_starts(rows_BL, vocab), 2, word_BL)
  key_BL = better_BL * _BETTER + below(_BETTER, draws.bits(length))
  key_BL = tf.where(is_place_BL, key_BL, -1)
  middle_B = tf.argmax(key_BL, axis=1, output_type=tf.int32)
  # Of a single token, nothing is left for the second.
  middle_B = tf.where(tf.reduce_any(is_place_BL, axis=1), middle_B, ends_B)
  ones_B = tf.ones_like(middle_B)
  return (
    Stretch(rows_BL, ones_B, middle_B - 1),
    Stretch(rows_BL, middle_B, ends_B - middle_B),
  )


def _coin(draws):
  return tf.cast(draws.bits(1)[:, 0], tf.int64) < threshold(0.5)


def _either(which_B, one: Stretch, other: Stretch) -> Stretch:
  return Stretch(
    tf.where(which_B[:, None], one.rows_BL, other.rows_BL),
    *(tf.where(which_B, a, b) for a, b in zip(one[1:], other[1:], strict=True)),
  )


def _join(first, second, labels_B, vocab):
  """Returns the rows of pairs, and what else there is to know about them."""
  length = first.rows_BL.shape[1]
  index_L = tf.range(length)
  first_B1, second_B1 = first.size_B[:, None], second.size_B[:, None]
  is_pair_B1 = second_B1 > 0
  # The start and the end of the first, and the end of the second.
  middle_B1 = first_B1 + 1
  last_B1 = middle_B1 + second_B1 + tf.cast(is_pair_B1, tf.int32)
  place_BL = tf.where(
    index_L < middle_B1,
    first.begin_B[:, None] + index_L - 1,
    length + second.begin_B[:, None] + index_L - middle_B1 - 1,
  )
  both_BM = tf.concat([first.rows_BL, second.rows_BL], axis=1)
  rows_BL = tf.gather(
    both_BM, tf.clip_by_value(place_BL, 0, 2 * length - 1), batch_dims=1
  )
  is_end_BL = (index_L == middle_B1) | (index_L == last_B1)
  rows_BL = tf.where(is_end_BL, vocab.end_id, rows_BL)
  rows_BL = tf.where(index_L == 0, vocab.start_id, rows_BL)
  inside_BL = index_L <= last_B1
  in_second_BL = (index_L > middle_B1) & inside_BL
  return tf.where(inside_BL, rows_BL, vocab.pad_id), {
    "type_ids": tf.cast(in_second_BL, tf.int32),
    "pair_labels": tf.cast(labels_B, tf.int32),
    "pair_weights": tf.cast(is_pair_B1[:, 0], tf.float32),
  }


PAIRS = {"nsp": next_sentence, "sop": sentence_order}
