"""Cheap checks of prepared rows before a long run.

`train` makes them by itself; `doctor` also examines a sample of the text.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np

from mlm_jax.config import Config
from mlm_jax.data import corruption as corruption_lib
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.data.rows import Stores
from mlm_jax.data.stream import Stream
from mlm_jax.vocabulary import Vocabulary

# The rows, from the beginning of the stream, that are looked at.
_NUM_ROWS = 1024

Level = Literal["ok", "look", "stop"]


@dataclasses.dataclass(frozen=True)
class Finding:
  """One result of a check.

  Attributes:
    level: "ok"; "look", where it may be meant; or "stop", where a run is a
      waste of time.
    name: of what was looked at.
    text: how it was found, in words.
    values: the numbers, by name.
  """

  level: Level
  name: str
  text: str
  values: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def level(value: float, look: float, stop: float = np.inf) -> Level:
  """Returns the level of a value that should be small."""
  if value > stop:
    return "stop"
  return "look" if value > look else "ok"


def of_rows(
  config: Config, stores: Stores, vocab: Vocabulary
) -> Iterator[Finding]:
  """Yields what the rows of a phase are like.

  Args:
    config: the phase's.
    stores: its rows.
    vocab: their vocabulary.
  """
  for name, store in stores.sources.items():
    share = store.info["train"].unknown_share
    yield Finding(
      level(share, 0.1, 0.3),
      f"unknown tokens {name}".rstrip(),
      f"{share:.1%} of the tokens are unknown, and never predicted"
      if share
      else "none",
      {"share": share},
    )
  stream = Stream(config, stores.sources)
  places = tf.range(_NUM_ROWS + 1, dtype=tf.int64)
  rows = [one.numpy() for one in stream.rows(places)]
  # A row that comes again in the next epoch is no duplicate.
  indices = np.stack(rows, axis=1)[:_NUM_ROWS]
  _, first = np.unique(indices, axis=0, return_index=True)
  rows_BL = stream.read(*rows)
  yield _duplicates(rows_BL[np.sort(first)])
  yield _targets(rows_BL, config, vocab)


def _duplicates(rows_BL: np.ndarray) -> Finding:
  share = 1 - len(np.unique(rows_BL, axis=0)) / len(rows_BL)
  text = f"{share:.1%} of {len(rows_BL):,} rows are copies of others"
  return Finding(
    level(share, 0.01, 0.5),
    "duplicate rows",
    text if share else f"none among {len(rows_BL):,}",
    {"share": share},
  )


def _targets(rows_BL, config: Config, vocab: Vocabulary) -> Finding:
  batch = corruption_lib.corrupt(
    rows_BL,
    0,
    config.corruption,
    vocab,
    config.seeds.masks,
  )
  # The last rows may only be what those before them were paired with.
  weights_BP = batch["target_weights"]
  counts = np.count_nonzero(weights_BP, axis=1)
  without = float(np.mean(counts == 0))
  num_tokens = np.isin(rows_BL[: len(counts)], vocab.special_ids, invert=True)
  share = counts.sum() / max(1, num_tokens.sum())
  text = f"{share:.1%} of the tokens"
  if without:
    text = f"{without:.1%} of the rows have none: nothing is learned from them"
  return Finding(
    level(without, 0.0, 0.5),
    "targets",
    text,
    {"rows_without": without, "share": float(share)},
  )
