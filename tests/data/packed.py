"""What tests read off packed rows."""

import numpy as np


def documents_of(row, vocab):
  """Returns the tokens of each document, from its start on."""
  row = row[row != vocab.pad_id]
  starts = np.flatnonzero(row == vocab.start_id)
  return [part.tolist() for part in np.split(row, starts)[1:]]
