"""The decoder: a text to be, from what the encoder has made of another."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlm_jax.config import EncoderConfig
from mlm_jax.models.encoder import Embeddings, Encoder, Stack
from mlm_jax.models.heads import MaskedLMHead
from mlm_jax.models.layers import Dense, Dropout, compute_dtype


class Decoder(nn.Module):
  """The encoder's blocks with cross attention (Vaswani et al. 2017).

  Its rows are packed as the encoder's are, document by document.

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
      ids_BP: the tokens.
      segment_ids_BP: the document of each token, whose encoded one it sees.
      positions_BP: the place of each token in its document.
      causal: tokens see none after them.
      deterministic: no dropout; otherwise an rng "dropout" is needed.
    """
    x_BPD = self.embeddings(ids_BP, positions_BP, table_VE=table_VE)
    x_BPD = self.dropout(
      x_BPD.astype(compute_dtype(self.config)), deterministic
    )
    x_BPD = nn.with_logical_constraint(x_BPD, ("batch", "length", None))
    seen = {"segment_ids_BL": segment_ids_BP, "causal": causal}
    seen_there = {
      "segment_ids_BL": segment_ids_BP,
      "key_segment_ids_BM": encoded_segment_ids_BL,
    }
    return self.stack(
      x_BPD, positions_BP, seen, deterministic, (encoded_BLD, seen_there)
    )


class EncoderDecoder(nn.Module):
  """The encoder, the decoder, and the head that tells the decoder's tokens.

  Attributes:
    config: of both.
    vocab_size: the tokenizer's.
    as_scores: does it return `Scores` in the place of logits?
  """

  num_arrays = 6

  config: EncoderConfig
  vocab_size: int
  as_scores: bool = False

  def setup(self):
    arguments = self.config, self.vocab_size
    self.encoder, self.decoder = Encoder(*arguments), Decoder(*arguments)
    self.head = MaskedLMHead(*arguments, self.as_scores)

  def __call__(
    self,
    ids_BL: jax.Array,
    segment_ids_BL: jax.Array,
    positions_BL: jax.Array,
    *decoder_arrays: jax.Array,
    **how,
  ) -> jax.Array:
    """Returns float32 logits [B, P, V] at each of the decoder's places.

    Args:
      ids_BL, segment_ids_BL, positions_BL: as `Encoder` has them.
      *decoder_arrays: ids_BP, segment_ids_BP and positions_BP, and
      **how: causal and deterministic, as `Decoder` has them.
    """
    deterministic = how.get("deterministic", True)
    encoded_BLD = self.encoder(
      ids_BL, segment_ids_BL, positions_BL, deterministic=deterministic
    )
    return self.decode(encoded_BLD, segment_ids_BL, *decoder_arrays, **how)

  def decode(self, encoded_BLD, segment_ids_BL, *decoder_arrays, **how):
    """Returns the same, of what the encoder has made of its rows."""
    table_VE = self.encoder.embeddings.token_table_VE
    x_BPD = self.decoder(
      table_VE, encoded_BLD, segment_ids_BL, *decoder_arrays, **how
    )
    return self.head(x_BPD, table_VE)


class ConditionalMaskedLM(EncoderDecoder):
  """An encoder-decoder whose decoder fills in masks, and is told how many.

  Its start token is what the encoder tells a document's length by
  (Ghazvininejad et al. 2019).
  """

  def setup(self):
    super().setup()
    shape = self.config.width, self.config.max_positions
    self.length = Dense(self.config, shape, ("embed", None))

  def __call__(self, ids_BL, segment_ids_BL, positions_BL, *arrays, **how):
    """Returns the logits, and float32 logits [B, L, max_positions] of lengths.

    The arguments are those of `EncoderDecoder`.
    """
    encoded_BLD, lengths_BLN = self.encode(
      *(ids_BL, segment_ids_BL, positions_BL),
      deterministic=how.get("deterministic", True),
    )
    logits_BPV = self.decode(encoded_BLD, segment_ids_BL, *arrays, **how)
    return logits_BPV, lengths_BLN

  def encode(self, *arrays, deterministic=True):
    """Returns the encoder's vectors, and the logits of lengths."""
    encoded_BLD = self.encoder(*arrays, deterministic=deterministic)
    return encoded_BLD, self.length(encoded_BLD).astype(jnp.float32)
