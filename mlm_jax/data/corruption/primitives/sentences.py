"""Where the sentences of packed rows begin."""

from __future__ import annotations

from mlm_jax.data.host_tensorflow import tf
from mlm_jax.vocabulary import Vocabulary


def sentence_starts(rows_BL: tf.Tensor, vocab: Vocabulary) -> tf.Tensor:
  """Returns bool [B, L], true where a sentence begins.

  It begins with a document's first token, and with one that begins a word after
  a full stop, an exclamation mark or a question mark, so not within "3.14".
  Special tokens begin no sentence.
  """
  before_BL = tf.pad(
    rows_BL[:, :-1], [[0, 0], [1, 0]], constant_values=vocab.end_id
  )
  stop_BL = tf.gather(vocab.stops, before_BL)
  begins_BL = (stop_BL == 2) | (
    (stop_BL == 1) & tf.gather(vocab.starts_word, rows_BL)
  )
  begins_BL |= before_BL == vocab.start_id
  return begins_BL & tf.gather(vocab.is_ordinary, rows_BL)
