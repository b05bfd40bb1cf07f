"""A Transformer decoder with cross attention to the encoder's output."""

import flax.linen as nn
import jax

from mlm_jax.config import EncoderConfig
from mlm_jax.models.attention import AttentionMask
from mlm_jax.models.dropout import Dropout
from mlm_jax.models.encoder import Embeddings, Stack
from mlm_jax.models.layers import compute_dtype


class Decoder(nn.Module):
  """The encoder's blocks with cross attention (Vaswani et al. 2017).

  Rows are packed as the encoder's are: a token attends to its own document,
  here and in the encoder's row.

  Attributes:
    config: the encoder's.
    vocab_size: the tokenizer's.
  """

  config: EncoderConfig
  vocab_size: int

  def setup(self):
    config = self.config
    self.embeddings = Embeddings(config, self.vocab_size, has_tokens=False)
    self.stack = Stack(config, config.num_decoder_layers, is_decoder=True)
    for part in (self.embeddings, self.stack):
      nn.share_scope(self, part)
    self.dropout = Dropout(config.embedding_dropout)

  def __call__(
    self,
    table_VE: jax.Array,
    encoded_BLD: jax.Array,
    encoded_segment_ids_BL: jax.Array,
    ids_BP: jax.Array,
    segment_ids_BP: jax.Array,
    positions_BP: jax.Array,
    *,
    causal: bool = True,
    deterministic: bool = True,
  ) -> jax.Array:
    """Returns the contextual vectors x_BPD.

    Args:
      table_VE: the encoder's token embeddings.
      encoded_BLD: the encoder's vectors.
      encoded_segment_ids_BL: the document of each of them, 0 for padding.
      ids_BP: the decoder's tokens.
      segment_ids_BP: the document of each token, 0 for padding.
      positions_BP: the position of each token in its document.
      causal: no token attends to later ones.
      deterministic: no dropout; otherwise an rng "dropout" is needed.
    """
    x_BPD = self.embeddings(ids_BP, positions_BP, table_VE=table_VE)
    x_BPD = self.dropout(
      x_BPD.astype(compute_dtype(self.config)), deterministic
    )
    x_BPD = nn.with_logical_constraint(x_BPD, ("batch", "length", None))
    return self.stack(
      x_BPD,
      positions_BP,
      AttentionMask(segment_ids_BP, causal=causal),
      deterministic,
      encoded_BLD,
      AttentionMask(segment_ids_BP, encoded_segment_ids_BL),
    )
