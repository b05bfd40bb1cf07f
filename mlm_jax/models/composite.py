"""Whole models: an encoder, perhaps a decoder, and heads."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlm_jax.config import EncoderConfig
from mlm_jax.models.decoder import Decoder
from mlm_jax.models.encoder import Embeddings, Encoder
from mlm_jax.models.heads import (
  LazyLogits,
  MaskedLMHead,
  ReplacedTokenHead,
  SentencePairHead,
  SpanBoundaryHead,
)
from mlm_jax.models.layers import Dense


def init_params(model: nn.Module, key: jax.Array) -> dict:
  """Returns fresh parameters, boxed with the names of their axes.

  Args:
    model: a model of this module.
    key: the random key.
  """
  arrays = [jnp.zeros([1, 8], jnp.int32)] * model.num_arrays
  return model.init(key, *arrays)["params"]


class MaskedLM(nn.Module):
  """An encoder and a head that predicts the tokens at given positions.

  Attributes:
    num_arrays: how many positional arrays of integers the model needs.
    config: the encoder's.
    vocab_size: the tokenizer's.
    shared: another encoder's embeddings, used in place of its own.
  """

  num_arrays = 4

  config: EncoderConfig
  vocab_size: int
  shared: Embeddings | None = None

  def setup(self):
    self.encoder = Encoder(self.config, self.vocab_size, self.shared)
    self.head = MaskedLMHead(self.config, self.vocab_size)

  def __call__(
    self,
    ids_BL: jax.Array,
    segment_ids_BL: jax.Array,
    positions_BL: jax.Array,
    target_positions_BP: jax.Array,
    type_ids_BL: jax.Array | None = None,
    *,
    causal: bool = False,
    prefix_BL: jax.Array | None = None,
    deterministic: bool = True,
  ) -> LazyLogits:
    """Returns the logits [B, P, V] at the target positions only.

    Args:
      target_positions_BP: where to predict.
      ids_BL, segment_ids_BL, positions_BL, type_ids_BL, causal, prefix_BL,
        deterministic: as for `Encoder`.
    """
    x_BLD = self.encoder(
      ids_BL,
      segment_ids_BL,
      positions_BL,
      type_ids_BL,
      causal=causal,
      prefix_BL=prefix_BL,
      deterministic=deterministic,
    )
    return self._predict(x_BLD, target_positions_BP)

  def _predict(self, x_BLD, target_positions_BP):
    x_BPD = _at(x_BLD, target_positions_BP)
    return self.head(x_BPD, self.encoder.embeddings.token_table_VE)


class SpanMaskedLM(MaskedLM):
  """A masked LM that also predicts targets from the borders of their spans."""

  def setup(self):
    super().setup()
    self.boundary = SpanBoundaryHead(self.config, self.vocab_size)

  def __call__(
    self,
    ids_BL: jax.Array,
    segment_ids_BL: jax.Array,
    positions_BL: jax.Array,
    target_positions_BP: jax.Array,
    type_ids_BL: jax.Array | None = None,
    *,
    borders: tuple[jax.Array, jax.Array, jax.Array] | None = None,
    deterministic: bool = True,
  ) -> tuple[LazyLogits, LazyLogits]:
    """Returns logits [B, P, V], from the targets' own vectors and the borders'.

    Args:
      target_positions_BP: where to predict.
      borders: int32 [B, P] each: the positions before and after each target's
        span, and how many targets of the span precede it.
      ids_BL, segment_ids_BL, positions_BL, type_ids_BL, deterministic: as for
        `Encoder`.
    """
    left_BP, right_BP, offset_BP = borders or (target_positions_BP,) * 3
    x_BLD = self.encoder(
      ids_BL,
      segment_ids_BL,
      positions_BL,
      type_ids_BL,
      deterministic=deterministic,
    )
    logits = self._predict(x_BLD, target_positions_BP)
    left_BPD, right_BPD = _at(x_BLD, left_BP), _at(x_BLD, right_BP)
    table_VE = self.encoder.embeddings.token_table_VE
    return logits, self.boundary(left_BPD, right_BPD, offset_BP, table_VE)


class PairMaskedLM(MaskedLM):
  """A masked LM that also classifies its rows, each a sentence pair."""

  def setup(self):
    super().setup()
    self.pair = SentencePairHead(self.config)

  def __call__(
    self,
    ids_BL: jax.Array,
    segment_ids_BL: jax.Array,
    positions_BL: jax.Array,
    target_positions_BP: jax.Array,
    type_ids_BL: jax.Array | None = None,
    *,
    deterministic: bool = True,
  ) -> tuple[LazyLogits, jax.Array]:
    """Returns logits [B, P, V], and float32 [B], > 0 for a pair in order.

    The arguments are those of `MaskedLM`.
    """
    x_BLD = self.encoder(
      ids_BL,
      segment_ids_BL,
      positions_BL,
      type_ids_BL,
      deterministic=deterministic,
    )
    logits = self._predict(x_BLD, target_positions_BP)
    return logits, self.pair(x_BLD[:, 0])


class Discriminator(nn.Module):
  """An encoder and a head that detects replaced tokens (Clark et al. 2020)."""

  num_arrays = 3

  config: EncoderConfig
  vocab_size: int
  shared: Embeddings | None = None

  def setup(self):
    self.encoder = Encoder(self.config, self.vocab_size, self.shared)
    self.head = ReplacedTokenHead(self.config)

  def __call__(
    self,
    ids_BL: jax.Array,
    segment_ids_BL: jax.Array,
    positions_BL: jax.Array,
    *,
    deterministic: bool = True,
  ) -> jax.Array:
    """Returns float32 logits [B, L], > 0 where a token looks replaced."""
    return self.head(
      self.encoder(
        ids_BL, segment_ids_BL, positions_BL, deterministic=deterministic
      )
    )


class Electra(nn.Module):
  """A generator and a discriminator over the same embeddings.

  Attributes:
    config: the discriminator's.
    generator_config: the generator's.
    vocab_size: the tokenizer's.
  """

  num_arrays = 4

  config: EncoderConfig
  generator_config: EncoderConfig
  vocab_size: int

  def setup(self):
    self.embeddings = Embeddings(self.config, self.vocab_size)
    shared = self.vocab_size, self.embeddings
    self.generator = MaskedLM(self.generator_config, *shared)
    self.discriminator = Discriminator(self.config, *shared)

  def __call__(self, ids_BL, segment_ids_BL, positions_BL, target_positions_BP):
    """Runs both, so that both have parameters."""
    self.discriminator(ids_BL, segment_ids_BL, positions_BL)
    return self.generator(
      ids_BL, segment_ids_BL, positions_BL, target_positions_BP
    )


class EncoderDecoder(nn.Module):
  """An encoder, a decoder, and a head that predicts the decoder's tokens.

  Attributes:
    num_arrays: how many positional arrays of integers the model needs.
    config: the encoder's and the decoder's.
    vocab_size: the tokenizer's.
  """

  num_arrays = 6

  config: EncoderConfig
  vocab_size: int

  def setup(self):
    self.encoder = Encoder(self.config, self.vocab_size)
    self.decoder = Decoder(self.config, self.vocab_size)
    self.head = MaskedLMHead(self.config, self.vocab_size)

  def __call__(
    self,
    ids_BL: jax.Array,
    segment_ids_BL: jax.Array,
    positions_BL: jax.Array,
    decoder_ids_BP: jax.Array,
    decoder_segment_ids_BP: jax.Array,
    decoder_positions_BP: jax.Array,
    *,
    causal: bool = True,
    deterministic: bool = True,
  ) -> LazyLogits:
    """Returns the logits [B, P, V] at each of the decoder's positions.

    Args:
      ids_BL, segment_ids_BL, positions_BL: as for `Encoder`.
      decoder_ids_BP, decoder_segment_ids_BP, decoder_positions_BP, causal: as
        for `Decoder`.
      deterministic: no dropout.
    """
    encoded_BLD = self.encoder(
      ids_BL, segment_ids_BL, positions_BL, deterministic=deterministic
    )
    return self.decode(
      encoded_BLD,
      segment_ids_BL,
      decoder_ids_BP,
      decoder_segment_ids_BP,
      decoder_positions_BP,
      causal=causal,
      deterministic=deterministic,
    )

  def decode(
    self,
    encoded_BLD: jax.Array,
    segment_ids_BL: jax.Array,
    decoder_ids_BP: jax.Array,
    decoder_segment_ids_BP: jax.Array,
    decoder_positions_BP: jax.Array,
    *,
    causal: bool = True,
    deterministic: bool = True,
  ) -> LazyLogits:
    """Returns the same, given the encoder's output."""
    table_VE = self.encoder.embeddings.token_table_VE
    x_BPD = self.decoder(
      table_VE,
      encoded_BLD,
      segment_ids_BL,
      decoder_ids_BP,
      decoder_segment_ids_BP,
      decoder_positions_BP,
      causal=causal,
      deterministic=deterministic,
    )
    return self.head(x_BPD, table_VE)


class ConditionalMaskedLM(EncoderDecoder):
  """An encoder-decoder whose decoder fills in masks, of predicted number.

  The encoder predicts each document's target length at its start token
  (Ghazvininejad et al. 2019).
  """

  def setup(self):
    super().setup()
    self.length = Dense(self.config, "D->N")

  def __call__(
    self,
    ids_BL: jax.Array,
    segment_ids_BL: jax.Array,
    positions_BL: jax.Array,
    decoder_ids_BP: jax.Array,
    decoder_segment_ids_BP: jax.Array,
    decoder_positions_BP: jax.Array,
    *,
    deterministic: bool = True,
  ) -> tuple[LazyLogits, jax.Array]:
    """Returns the logits, and those of lengths, float32 [B, L, max_positions].

    The arguments are those of `EncoderDecoder`, whose decoder is not causal.
    """
    encoded_BLD, lengths_BLN = self.encode(
      ids_BL, segment_ids_BL, positions_BL, deterministic=deterministic
    )
    logits = self.decode(
      encoded_BLD,
      segment_ids_BL,
      decoder_ids_BP,
      decoder_segment_ids_BP,
      decoder_positions_BP,
      causal=False,
      deterministic=deterministic,
    )
    return logits, lengths_BLN

  def encode(
    self,
    ids_BL: jax.Array,
    segment_ids_BL: jax.Array,
    positions_BL: jax.Array,
    *,
    deterministic: bool = True,
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the encoder's vectors [B, L, D], and the logits of lengths."""
    encoded_BLD = self.encoder(
      ids_BL, segment_ids_BL, positions_BL, deterministic=deterministic
    )
    return encoded_BLD, self.length(encoded_BLD).astype(jnp.float32)


def _at(x_BLD, positions_BP):
  return jnp.take_along_axis(x_BLD, positions_BP[..., None], axis=1)
