"""Where the sentences of packed rows begin."""

from __future__ import annotations

import numpy as np

from mlm_jax.data.corruption.primitives.row_ops import shift_right
from mlm_jax.vocabulary import Vocabulary


def sentence_starts(rows_BL: np.ndarray, vocab: Vocabulary) -> np.ndarray:
  """Returns bool [B, L], true where a sentence begins.

  It begins with a document's first token, and with one that begins a word after
  a full stop, an exclamation mark or a question mark, so not within "3.14".
  Special tokens begin no sentence.
  """
  before_BL = shift_right(rows_BL, vocab.end_id)
  stop_BL = np.take(vocab.stops, before_BL)
  begins_BL = (stop_BL == 2) | (
    (stop_BL == 1) & np.take(vocab.starts_word, rows_BL)
  )
  begins_BL |= before_BL == vocab.start_id
  return begins_BL & np.take(vocab.is_ordinary, rows_BL)
