"""Rows that predict the next token, among rows with masks.

corruption.next_token_share and corruption.prefix_share are their shares.
"""

from __future__ import annotations

import numpy as np

from mlm_jax.batch import Fields, select
from mlm_jax.data.corruption.base import Corruption
from mlm_jax.data.corruption.primitives.documents import find_documents
from mlm_jax.data.corruption.primitives.random import (
  RowRandom,
  threshold,
  uniform_int,
)
from mlm_jax.data.corruption.primitives.targets import next_tokens_after_prefix
from mlm_jax.vocabulary import Vocabulary

FIELDS = select("prefix")


def mix_causal_rows(
  masked: dict[str, np.ndarray],
  rows_BL: np.ndarray,
  corruption: Corruption,
  vocab: Vocabulary,
  random: RowRandom,
) -> dict[str, np.ndarray]:
  """Returns a batch some of whose rows predict the next token.

  In a masked row every token is in the prefix: that is how the model knows it.

  Args:
    masked: the batch with masks in all rows.
    rows_BL: the rows that it was made from.
    corruption: made it.
    vocab: the special ids.
    random: decides for each row.
  """
  keys = corruption.keys
  docs = find_documents(rows_BL, vocab)
  bits_B1 = random.bits(1)
  no_prefix_B1 = bits_B1 < threshold(keys.next_token_share)
  is_causal_B1 = bits_B1 < threshold(keys.causal_row_share)
  prefix_BM = uniform_int(docs.sizes_BM + 1, docs.bits(random))
  # The start is before all targets, so it need not be in the prefix.
  prefix_BM = np.where(no_prefix_B1, -1, prefix_BM)
  causal = next_tokens_after_prefix(prefix_BM, rows_BL, docs, vocab)
  masked = _widen(masked, corruption.fields, rows_BL.shape[1], vocab)
  masked["prefix"] = (rows_BL != vocab.pad_id).astype(np.int32)
  return {
    name: np.where(is_causal_B1, value, masked[name])
    for name, value in causal.items()
  }


def _widen(
  batch: dict[str, np.ndarray], fields: Fields, slots: int, vocab: Vocabulary
) -> dict[str, np.ndarray]:
  """Returns the batch with empty target slots after its own."""

  def widen(name, value):
    axis = fields[name].axes.find("P")
    if axis < 0:
      return value
    paddings = [[0, 0] for _ in fields[name].axes]
    paddings[axis][1] = slots - value.shape[axis]
    fill = fields[name].fill_value(vocab)
    return np.pad(value, paddings, constant_values=fill)

  return {name: widen(name, value) for name, value in batch.items()}
