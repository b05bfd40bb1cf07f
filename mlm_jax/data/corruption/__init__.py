"""Corruptions: from packed rows to what the model reads and must predict.

One file a kind, named as the value of `corruption.kind`; sentence_pairs.py and
causal_rows.py add to kinds with masks for an encoder; primitives/ holds what
several are made of; preview.py shows one to a person.

A corruption is a NumPy function of a whole batch, with no Python per token.
NumPy releases Python's lock, so that threads make batches in parallel. Random
numbers depend on the seed and on each row's position in the stream of rows,
never on the batch, worker or host: equal rows are corrupted equally on every
machine. Shapes are static: a row has P target slots, and empty ones have weight
0.

Shape suffixes:
  B  rows of the batch
  N  rows before pairs are made: B, and those that are looked ahead to
  L  positions (tokens) of a row
  T  2 L: two rows, one behind the other
  P  target slots of a row; with a decoder, positions of its row
  M  documents of a row
  W  words of a row
  S  spans of a row, or its sentences
  C  positions where a number may be cut into parts
  1, 2  an axis of that length
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from mlm_jax import registry
from mlm_jax.batch import Contract, merge
from mlm_jax.data.corruption import causal_rows, sentence_pairs
from mlm_jax.data.corruption.base import Corruption
from mlm_jax.data.corruption.primitives.random import RowRandom
from mlm_jax.vocabulary import Vocabulary

if TYPE_CHECKING:
  from mlm_jax.config import Config, CorruptionConfig

# Sentence pairs draw from random streams after those of all kinds.
_FIRST_STREAM_OF_PAIRS = 1 << 10


def bind(keys: CorruptionConfig) -> Corruption:
  """Returns the corruption that the keys describe."""
  return registry.CORRUPTIONS[keys.kind](keys)


def batch_contract(config: Config) -> Contract:
  """Returns the contract of a run's training batches, of all processes."""
  sizes = {"B": config.train.batch_size, "L": config.data.seq_len}
  return contract(config.corruption, sizes)


def contract(keys: CorruptionConfig, sizes: Mapping[str, int]) -> Contract:
  """Returns the contract of batches with these lengths of the axes B and L.

  Raises:
    InputError: a field is wanted differently by two of the keys.
  """
  corruption = bind(keys)
  providers = {f"corruption.kind={keys.kind!r}": corruption.fields}
  if keys.causal_row_share:
    name = "corruption.next_token_share or corruption.prefix_share"
    providers[name] = causal_rows.FIELDS
  if keys.sentence_pairs != "none":
    name = f"corruption.sentence_pairs={keys.sentence_pairs!r}"
    providers[name] = sentence_pairs.FIELDS
  targets = corruption.num_targets(sizes["L"])
  return Contract(merge(providers), {**sizes, "P": targets})


def corrupt(
  rows_BL: np.ndarray,
  first_position: int,
  keys: CorruptionConfig,
  vocab: Vocabulary,
  seed: int,
  progress: float = 0.0,
) -> dict[str, np.ndarray]:
  """Returns a batch, which keeps the contract of `batch_contract`.

  Args:
    rows_BL: int32 packed rows, consecutive in the stream: those of the batch,
      and after them as many as the corruption's `lookahead_rows`.
    first_position: the position of the first row in the stream.
    keys: the corruption.* keys.
    vocab: the special ids, and the ids that begin a word or end a sentence.
    seed: selects among the corruptions of one stream.
    progress: the part of training that is done, 0 to 1; the mask rate moves to
      corruption.final_mask_rate by it.

  Raises:
    InputError: the vocabulary lacks what the corruption needs.
  """
  corruption, pair = bind(keys), {}
  if keys.sentence_pairs != "none":
    random = RowRandom(
      seed, first_position, len(rows_BL), _FIRST_STREAM_OF_PAIRS
    )
    make_pairs = sentence_pairs.PAIRS[keys.sentence_pairs]
    rows_BL, pair = make_pairs(rows_BL, vocab, random)
  random = RowRandom(seed, first_position, len(rows_BL))
  rate = keys.mask_rate
  if keys.final_mask_rate:
    rate += (keys.final_mask_rate - rate) * np.float32(progress)
  batch = corruption.corrupt(rows_BL, rate, vocab, random)
  if keys.causal_row_share:
    batch = causal_rows.mix_causal_rows(
      batch, rows_BL, corruption, vocab, random
    )
  batch |= pair
  contract(keys, {"L": rows_BL.shape[1]}).check(batch)
  return batch
