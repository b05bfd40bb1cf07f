"""Matmul FLOPs of the forward pass over one row.

Two a multiplication and addition. Attention counts all pairs of a row's tokens,
or those within a window; embedding lookups, norms and softmax are not counted.
"""

import numpy as np

from mlm_jax.config import EncoderConfig
from mlm_jax.models.encoder import padded_vocab_size
from mlm_jax.models.heads import SPAN_POSITION_WIDTH


def dense(rows: int, inputs: int, outputs: int) -> float:
  """Returns the FLOPs of a dense layer."""
  return 2.0 * rows * inputs * outputs


def encoder(config: EncoderConfig, length: int) -> float:
  """Returns the FLOPs of an `Encoder` over `length` tokens."""
  flops = dense(length, config.embedding_width, config.width)
  for layer in range(config.num_layers):
    keys = length
    if config.is_local(layer):
      keys = min(length, config.window + 1)
    flops += _block(config, length, keys)
  return flops


def decoder(config: EncoderConfig, length: int, encoder_length: int) -> float:
  """Returns the FLOPs of a `Decoder` over `length` tokens.

  Args:
    config: the encoder's.
    length: the decoder's row.
    encoder_length: the encoder's row, to which each token attends.
  """
  width, kv_width = config.width, config.head_width * config.kv_heads
  cross = 2 * dense(length, width, width)  # Queries and output.
  cross += dense(encoder_length, width, 2 * kv_width)
  cross += _attention(config, length, encoder_length)
  return config.num_decoder_layers * (_block(config, length, length) + cross)


def masked_lm_head(
  config: EncoderConfig, targets: int, vocab_size: int
) -> float:
  """Returns the FLOPs of a `MaskedLMHead`, logits included."""
  table_width = config.table_width
  flops = dense(targets, table_width, padded_vocab_size(vocab_size))
  if config.head_dense != "none":
    flops += dense(targets, config.width, table_width)
  return flops


def masked_lm(
  config: EncoderConfig, length: int, targets: int, vocab_size: int
) -> float:
  """Returns the FLOPs of a `MaskedLM`."""
  return encoder(config, length) + masked_lm_head(config, targets, vocab_size)


def span_boundary_head(
  config: EncoderConfig, targets: int, vocab_size: int
) -> float:
  """Returns the FLOPs of a `SpanBoundaryHead`, logits included."""
  inputs = 2 * config.width + SPAN_POSITION_WIDTH
  flops = dense(targets, inputs, config.width)
  return flops + masked_lm_head(config, targets, vocab_size)


def sentence_pair_head(config: EncoderConfig) -> float:
  """Returns the FLOPs of a `SentencePairHead`."""
  return dense(1, config.width, config.width) + dense(1, config.width, 1)


def replaced_token_head(config: EncoderConfig, length: int) -> float:
  """Returns the FLOPs of a `ReplacedTokenHead`."""
  flops = dense(length, config.width, config.width)
  return flops + dense(length, config.width, 1)


def unseen_attention(config: EncoderConfig, segments_BL: np.ndarray) -> float:
  """Returns the FLOPs a token that `encoder` counts and masks do not allow.

  Args:
    config: the encoder's.
    segments_BL: the document of each token of some rows, 0 for padding.
  """
  length, unseen = segments_BL.shape[1], 0.0
  windows = [
    config.window if config.is_local(layer) else 0
    for layer in range(config.num_layers)
  ]
  seen = {window: seen_keys(segments_BL, window) for window in set(windows)}
  for window in windows:
    keys = min(length, window + 1) if window else length
    unseen += keys - seen[window]
  return _attention(config, 1, unseen)


def seen_keys(segments_BL: np.ndarray, window: int) -> float:
  """Returns the mean number of keys that a token attends to.

  Args:
    segments_BL: the document of each token, 0 for padding.
    window: of local attention, in tokens; 0 for all of a document.
  """
  pairs = 0
  for segments_L in segments_BL:
    for size in np.bincount(segments_L)[1:]:
      half = min(window // 2, size - 1) if window else size - 1
      # A band of the square matrix: all of it but two triangles.
      pairs += size**2 - (size - 1 - half) * (size - half)
  return pairs / max(np.count_nonzero(segments_BL), 1)


def _block(config, length, keys):
  width, mlp_width = config.width, config.mlp_width
  kv_width = config.head_width * config.kv_heads
  flops = dense(length, width, width + 2 * kv_width)
  flops += _attention(config, length, keys) + dense(length, width, width)
  return flops + (3 if config.glu else 2) * dense(length, width, mlp_width)


def _attention(config, queries, keys):
  """Returns the FLOPs of all heads' scores and their weighted sums."""
  return 4.0 * queries * keys * config.width
