"""BART's noises: rows to rows that say less (Lewis et al. 2020).

Each keeps the start and the end of every document where a document has them, and
no row gets longer, so they follow one another in any number.
"""

from mlm_jax.config import CorruptionConfig
from mlm_jax.data.corruption import choosing, masking
from mlm_jax.data.corruption.documents import (
  find_documents,
  runs_begin,
  scattered,
  squeeze,
)
from mlm_jax.data.corruption.draws import Draws, below
from mlm_jax.data.corruption.primitives import spans
from mlm_jax.data.corruption.sentences import sentence_starts
from mlm_jax.data.corruption.sorting import PLACES, ascending
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.vocabulary import Vocabulary

# Of the numbers to put sentences in order by.
_LAST = 1 << 28


def add_noise(
  rows_BL: tf.Tensor,
  rate: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  draws: Draws,
) -> tf.Tensor:
  """Returns the rows with all of `corruption.noises`, in the order below."""
  for name, noise in _NOISES.items():
    if name in corruption.noise_names:
      rows_BL = noise(rows_BL, rate, corruption, vocab, draws)
  return rows_BL


def permute_sentences(rows_BL, rate, corruption, vocab, draws):
  """Puts the sentences of each document in random order."""
  length = rows_BL.shape[1]
  docs = find_documents(rows_BL, vocab)
  starts_BL = sentence_starts(rows_BL, vocab)
  sentence_BL = tf.cumsum(tf.cast(starts_BL, tf.int32), axis=1)
  # One number to sort by, greatest bits first: the document; between its start
  # and end the sentence's random number; the place, which tells who it was.
  random_BS = below(_LAST, draws.bits(length + 1))
  order_BL = 1 + tf.gather(random_BS, sentence_BL, batch_dims=1)
  order_BL = tf.where(docs.inside_BL, order_BL, _LAST + 1)
  order_BL = tf.where(rows_BL == vocab.start_id, 0, order_BL)
  number_BL = tf.cast(docs.number_BL, tf.int64) * (_LAST + 2)
  keys_BL = (number_BL + tf.cast(order_BL, tf.int64)) * PLACES
  keys_BL = ascending(keys_BL + tf.range(length, dtype=tf.int64))
  place_BL = tf.bitwise.bitwise_and(keys_BL, tf.constant(PLACES - 1, tf.int64))
  return tf.gather(rows_BL, place_BL, batch_dims=1)


def rotate_documents(rows_BL, rate, corruption, vocab, draws):
  """Begins each document with a random one of its tokens."""
  docs = find_documents(rows_BL, vocab)
  shift_BM = below(docs.sizes_BM, docs.draw(draws))
  begin_BL = docs.of_token(docs.begins_BM)
  size_BL = tf.maximum(docs.of_token(docs.sizes_BM), 1)
  index_BL = tf.range(rows_BL.shape[1])
  place_BL = index_BL - begin_BL + docs.of_token(shift_BM)
  place_BL = begin_BL + tf.where(
    place_BL >= size_BL, place_BL - size_BL, place_BL
  )
  place_BL = tf.where(docs.inside_BL, place_BL, index_BL)
  return tf.gather(rows_BL, place_BL, batch_dims=1)


def mask_tokens(rows_BL, rate, corruption, vocab, draws):
  chosen = choosing.choose_tokens(rows_BL, rate, corruption, vocab, draws)
  return masking.mask(rows_BL, chosen, corruption, vocab, draws)["input_ids"]


def delete_tokens(rows_BL, rate, corruption, vocab, draws):
  """Leaves tokens out: the model must find out where, too."""
  chosen = choosing.choose_tokens(rows_BL, rate, corruption, vocab, draws)
  hidden_BL = _where(chosen.positions_BP, chosen.is_target_BP, rows_BL)
  return squeeze(rows_BL, ~hidden_BL, rows_BL.shape[1], vocab.pad_id)


def infill_text(rows_BL, rate, corruption, vocab, draws):
  """Shows each span of words as one mask, and some masks that hide nothing.

  Spans have lengths by a Poisson law of mean `mean_span`, and those of length 0
  are the masks between words.
  """
  length = rows_BL.shape[1]
  words = choosing.find_words(rows_BL, vocab)
  law = spans.poisson_law(corruption.mean_span)
  drawn = spans.draw_spans(words, corruption, law, draws)
  hidden_BL = spans.hide(drawn, words, rate, corruption)
  first_BL = runs_begin(hidden_BL)
  # The empty ones among those drawn before the last that was taken.
  number_BL = tf.where(hidden_BL, drawn.number_BL, 0)
  last_B1 = tf.reduce_max(number_BL, axis=1, keepdims=True)
  empty_BS = (drawn.lengths_BS == 0) & drawn.fits_BS
  empty_BS &= tf.range(empty_BS.shape[1]) < last_B1
  # As many as fit: others have left room.
  count = lambda where: tf.reduce_sum(tf.cast(where, tf.int32), 1, True)
  room_B1 = count(rows_BL == vocab.pad_id) + count(hidden_BL) - count(first_BL)
  empty_BS &= tf.cumsum(tf.cast(empty_BS, tf.int32), axis=1) <= room_B1
  empty_BW = scattered(
    tf.minimum(drawn.starts_BS, length), tf.cast(empty_BS, tf.int32), length + 1
  )
  before_BL = choosing.of_word(empty_BW, words, outside=0) > 0
  before_BL &= words.starts_BL
  pairs_BL2 = tf.stack([tf.fill(tf.shape(rows_BL), vocab.mask_id), rows_BL], -1)
  kept_BL2 = tf.stack([before_BL | first_BL, ~hidden_BL], axis=-1)
  flat = lambda x_BL2: tf.reshape(x_BL2, [-1, 2 * length])
  return squeeze(flat(pairs_BL2), flat(kept_BL2), length, vocab.pad_id)


def _where(positions_BP, is_there_BP, rows_BL):
  there_BP = tf.cast(is_there_BP, tf.int32)
  return scattered(positions_BP, there_BP, rows_BL.shape[1]) > 0


_NOISES = {
  "sentence_permutation": permute_sentences,
  "document_rotation": rotate_documents,
  "token_masking": mask_tokens,
  "token_deletion": delete_tokens,
  "text_infilling": infill_text,
}
