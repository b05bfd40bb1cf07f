"""A fragment that a decoder generates (MASS, Song et al. 2019)."""

from __future__ import annotations

import numpy as np

from mlm_jax.batch import select
from mlm_jax.data.corruption.base import Corruption
from mlm_jax.data.corruption.primitives.documents import find_documents
from mlm_jax.data.corruption.primitives.masks import replace_tokens
from mlm_jax.data.corruption.primitives.random import uniform_int
from mlm_jax.data.corruption.primitives.row_ops import compact
from mlm_jax.data.corruption.primitives.targets import (
  decoder_batch,
  decoder_length,
)


class Mass(Corruption):
  """Masks one fragment of each document, `mask_rate` of its tokens.

  Its tokens are replaced as BERT's are. The decoder generates the fragment, at
  the positions that it has in the document.
  """

  task = "generate"
  fields = select(
    "input_ids",
    "decoder_ids",
    "target_ids",
    "target_weights",
    "decoder_positions",
  )
  uses_masks_per_row = False

  def num_targets(self, seq_len: int) -> int:
    return decoder_length(self.num_hidden(seq_len), seq_len)

  def corrupt(self, rows_BL, rate, vocab, random):
    length, slots = rows_BL.shape[1], self.num_targets(rows_BL.shape[1])
    docs = find_documents(rows_BL, vocab)
    sizes_BM = docs.sizes_BM.astype(np.float32)
    masked_BM = np.round(rate * sizes_BM).astype(np.int32)
    free_BM = docs.sizes_BM - masked_BM
    begins_BM = docs.begins_BM + uniform_int(free_BM + 1, docs.bits(random))
    offset_BL = np.arange(length, dtype=np.int32) - docs.gather(begins_BM)
    masked_BL = docs.inside_BL & (offset_BL >= 0)
    masked_BL &= offset_BL < docs.gather(masked_BM)
    masked_BL &= np.take(vocab.is_ordinary, rows_BL)
    action_bits_BL = random.bits(length)
    replaced_BL = replace_tokens(
      rows_BL, action_bits_BL, self.keys, vocab, random
    )
    input_ids_BL = np.where(masked_BL, replaced_BL, rows_BL)
    is_start_BL = rows_BL == vocab.start_id
    decoded_BL = masked_BL | is_start_BL
    decoder_ids_BP = compact(rows_BL, decoded_BL, slots, vocab.pad_id)
    position_BL = (
      np.arange(length, dtype=np.int32) - docs.gather(docs.begins_BM) + 1
    )
    # The start has the position of the last token before the fragment.
    fragment_BL = docs.gather(begins_BM - docs.begins_BM)
    position_BL = np.where(is_start_BL, fragment_BL, position_BL)
    return {
      **decoder_batch(input_ids_BL, decoder_ids_BP, vocab),
      "decoder_positions": compact(position_BL, decoded_BL, slots, 0),
    }
