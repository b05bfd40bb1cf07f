"""The next token is predicted after a prefix (Raffel et al. 2020)."""

from __future__ import annotations

from mlm_jax.batch import select
from mlm_jax.data.corruption.base import Corruption
from mlm_jax.data.corruption.primitives.documents import find_documents
from mlm_jax.data.corruption.primitives.random import uniform_int
from mlm_jax.data.corruption.primitives.targets import next_tokens_after_prefix


class Prefix(Corruption):
  """Predicts the tokens after a prefix that all tokens attend to.

  The prefix is a document's start and any number of tokens after it that leaves
  something to predict, all numbers equally likely.
  """

  task = "predict_next"
  fields = select(
    "input_ids", "target_positions", "target_ids", "target_weights", "prefix"
  )
  uses_masks_per_row = False

  def corrupt(self, rows_BL, rate, vocab, random):
    docs = find_documents(rows_BL, vocab)
    prefix_BM = uniform_int(docs.sizes_BM + 1, docs.bits(random))
    return next_tokens_after_prefix(prefix_BM, rows_BL, docs, vocab)

  def describe(self) -> str:
    return f"{self.keys.kind}, every token after a prefix of any length"
