"""Whole models: an encoder, perhaps a decoder, and heads."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from mlm_jax.config import EncoderConfig
from mlm_jax.models.decoder import Decoder
from mlm_jax.models.encoder import Embeddings, Encoder
from mlm_jax.models.heads import (
  MaskedLMHead,
  ReplacedTokenHead,
  SentencePairHead,
  SpanBoundaryHead,
)
from mlm_jax.models.layers import Dense


def init_params(model: nn.Module, key: jax.Array) -> dict:
  """Returns fresh parameters, boxed with the names of their axes.

  Args:
    model: takes `num_arrays` arrays of ids and places.
    key: of the random numbers.
  """
  arrays = [jnp.zeros([1, 8], jnp.int32)] * model.num_arrays
  return model.init(key, *arrays)["params"]


class MaskedLM(nn.Module):
  """The encoder and the head that reconstructs the tokens at given places.

  Attributes:
    config: of both.
    vocab_size: the tokenizer's.
    shared: another encoder's embeddings, to use in place of its own.
    as_scores: does it return `Scores` in the place of logits?
  """

  num_arrays = 4

  config: EncoderConfig
  vocab_size: int
  shared: Embeddings | None = None
  as_scores: bool = False

  def setup(self):
    self.encoder = Encoder(self.config, self.vocab_size, self.shared)
    self.head = MaskedLMHead(self.config, self.vocab_size, self.as_scores)

  def __call__(
    self,
    ids_BL: jax.Array,
    segment_ids_BL: jax.Array,
    positions_BL: jax.Array,
    target_positions_BP: jax.Array,
    type_ids_BL: jax.Array | None = None,
    **how,
  ) -> jax.Array:
    """Returns float32 logits [B, P, V] at the target positions only."""
    x_BLD = self.encoder(
      ids_BL, segment_ids_BL, positions_BL, type_ids_BL, **how
    )
    x_BPD = _at(x_BLD, target_positions_BP)
    return self.head(x_BPD, self.encoder.embeddings.token_table_VE)


class SpanMaskedLM(MaskedLM):
  """A masked language model whose targets are told twice."""

  def setup(self):
    super().setup()
    self.boundary = SpanBoundaryHead(
      self.config, self.vocab_size, self.as_scores
    )

  def __call__(
    self,
    ids_BL: jax.Array,
    segment_ids_BL: jax.Array,
    positions_BL: jax.Array,
    target_positions_BP: jax.Array,
    borders: tuple[jax.Array, jax.Array, jax.Array] | None = None,
    **how,
  ) -> tuple[jax.Array, jax.Array]:
    """Returns float32 logits [B, P, V]: by what is there, and by the borders.

    Args:
      ids_BL, segment_ids_BL, positions_BL, how: as `Encoder` has them.
      target_positions_BP: the targets.
      borders: of each one's span, the places [B, P] before and after it, and
        how many targets stand before it there.
    """
    left_BP, right_BP, place_BP = borders or (target_positions_BP,) * 3
    x_BLD = self.encoder(ids_BL, segment_ids_BL, positions_BL, **how)
    table_VE = self.encoder.embeddings.token_table_VE
    told = self.head(_at(x_BLD, target_positions_BP), table_VE)
    around = _at(x_BLD, left_BP), _at(x_BLD, right_BP)
    return told, self.boundary(*around, place_BP, table_VE)


class PairMaskedLM(MaskedLM):
  """A masked language model that also judges its rows, each a sentence pair."""

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
    **how,
  ) -> tuple[jax.Array, jax.Array]:
    """Returns float32 logits [B, P, V], and [B], over 0 where it is in place."""
    x_BLD = self.encoder(
      ids_BL, segment_ids_BL, positions_BL, type_ids_BL, **how
    )
    x_BPD = _at(x_BLD, target_positions_BP)
    told = self.head(x_BPD, self.encoder.embeddings.token_table_VE)
    return told, self.pair(x_BLD[:, 0])


class Discriminator(nn.Module):
  """The encoder and the head that tells replaced tokens (Clark et al. 2020)."""

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
    """Returns float32 logits [B, L]; positive where a token was replaced."""
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
    self.length = Dense(self.config, "D->N")

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


def _at(x_BLD, positions_BP):
  return jnp.take_along_axis(x_BLD, positions_BP[..., None], axis=1)
