"""tf.data pipelines: row store to batches, on the fly and seekable.

Training reads an endless stream of rows, whose order is computed (stream.py).
A step holds the next B rows after those that were trained on before it, in
batches of whatever size; a checkpoint records their number. So any step can be
reached at once, on any number of processes. The row read n-th is masked by n.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce

import numpy as np

from mlm_jax.config import Config, CorruptionConfig
from mlm_jax.data import corruption as corruption_lib
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.data.rows import RowStore
from mlm_jax.data.stream import Stream, shuffled
from mlm_jax.vocabulary import Vocabulary

# Held-out masks are the same in every run that has the same held-out rows.
_HELDOUT_SEED = 0

# Each has a batch in memory.
_MOST_THREADS = 16

# Batch size -> (start, stop) of the rows of the batch.
LocalRows = Callable[[int], tuple[int, int]]


def all_rows(batch_size: int) -> tuple[int, int]:
  return 0, batch_size


def train_batches(
  config: Config,
  stream: Stream,
  vocab: Vocabulary,
  *,
  first_step: int = 0,
  first_row: int | None = None,
  local_rows: LocalRows = all_rows,
) -> tf.data.Dataset:
  """Returns the batches of a phase, from step `first_step` of it to its end.

  Args:
    config: the phase's.
    stream: its rows.
    vocab: their vocabulary.
    first_step: where to begin, in steps of the phase.
    first_row: the number of rows of the stream read before that step; by
      default those of the phase's earlier steps.
    local_rows: which rows of a global batch this process feeds; all by default.
  """
  timeline = config.timeline
  lookahead = corruption_lib.bind(config.corruption).lookahead_rows
  rows_before_phase = 0
  if first_row is not None:
    rows_before_phase = first_row - timeline.rows_before(first_step)

  def load(step, stage, start, stop):
    row = timeline.rows_before(stage.first_step)
    row += (step - stage.first_step) * stage.batch_size
    first = rows_before_phase + row + start
    count = stop - start + lookahead
    return _corrupted(
      stream.read,
      stream.rows(first + tf.range(count, dtype=tf.int64)),
      first,
      config.corruption,
      vocab,
      config.seeds.masks,
      {"B": stop - start, "L": config.data.seq_len},
      progress=row / timeline.num_rows,
    )

  stages = []
  for stage in timeline.stages:
    if first_step < stage.end:
      start, stop = local_rows(stage.batch_size)
      steps = tf.data.Dataset.range(
        max(first_step, stage.first_step), stage.end
      )
      stages.append(
        _map(steps, partial(load, stage=stage, start=start, stop=stop))
      )
  return _prefetched(reduce(tf.data.Dataset.concatenate, stages))


def heldout_batches(
  config: Config,
  store: RowStore,
  vocab: Vocabulary,
  *,
  split: str = "heldout",
  local_rows: LocalRows = all_rows,
  corruption: CorruptionConfig | None = None,
) -> tf.data.Dataset:
  """Returns the held-out batches, the last one filled up with blank rows.

  Args:
    config: the run.
    store: the prepared rows.
    split: which of them.
    vocab: their vocabulary.
    local_rows: as for `train_batches`.
    corruption: what to use in place of `heldout_corruption`; one of the same
      rate has the same targets.
  """
  corruption = corruption or heldout_corruption(config.corruption)
  lookahead = corruption_lib.bind(corruption).lookahead_rows
  batch_size, num_rows = config.train.batch_size, store.info[split].num_rows
  start, stop = local_rows(batch_size)
  num_batches = -(-num_rows // batch_size)
  if config.train.eval_batches:
    num_batches = min(num_batches, config.train.eval_batches)

  def load(step):
    first = step * batch_size + start
    count = stop - start + lookahead
    positions = first + tf.range(count, dtype=tf.int64)
    rows = positions % num_rows
    if lookahead:
      # Neighbours in the store are pieces of one document.
      rows = shuffled(positions, num_rows, _HELDOUT_SEED)
    return _corrupted(
      lambda rows: store.read(split, rows).astype(np.int32),
      [rows],
      first,
      corruption,
      vocab,
      _HELDOUT_SEED,
      {"B": stop - start, "L": config.data.seq_len},
      num_rows=num_rows,
    )

  return _prefetched(_map(tf.data.Dataset.range(num_batches), load))


def heldout_corruption(
  corruption: CorruptionConfig, **changes
) -> CorruptionConfig:
  """Returns how a run's held-out rows are corrupted.

  Rows with masks for an encoder are masked by `HELDOUT_MASKING`, whatever the
  run's own rate is, so that the losses of runs can be compared; others as the
  run's training rows.

  Args:
    corruption: the run's keys.
    **changes: keys to replace in the result.
  """
  heldout = corruption_lib.bind(corruption).heldout()
  return dataclasses.replace(heldout, **changes)


def _corrupted(
  read: Callable[..., np.ndarray],
  rows: Sequence[tf.Tensor],
  first: tf.Tensor,
  corruption: CorruptionConfig,
  vocab: Vocabulary,
  seed: int,
  sizes: Mapping[str, int],
  progress: tf.Tensor | float = 0.0,
  num_rows: int | None = None,
) -> dict[str, tf.Tensor]:
  """Reads and corrupts rows, all in NumPy.

  TensorFlow's own sort, cumsum and batched gather take five to twenty times as
  long on CPUs. NumPy releases Python's lock, so that the threads of tf.data
  make batches in parallel.

  Args:
    read: returns the rows, given `rows`.
    rows: says which to read.
    first: the position of the first one.
    corruption: how they are corrupted.
    vocab: their vocabulary.
    seed: of the corruption.
    sizes: the lengths of the axes B and L.
    progress: the part of training that is done.
    num_rows: where there are no more, so that blank rows follow.
  """
  contract = corruption_lib.contract(corruption, sizes)

  def corrupted(first, progress, *rows):
    batch = corruption_lib.corrupt(
      read(*rows), int(first), corruption, vocab, seed, progress
    )
    if num_rows is not None and first + sizes["B"] > num_rows:
      blank = contract.blank(vocab)
      past = max(0, num_rows - int(first))
      for name, values in batch.items():
        batch[name] = np.concatenate([values[:past], blank[name][past:]])
    return [batch[name] for name in contract.fields]

  fields = contract.fields
  found = tf.numpy_function(
    corrupted,
    [first, tf.cast(progress, tf.float32), *rows],
    [tf.dtypes.as_dtype(field.dtype) for field in fields.values()],
    stateful=False,
  )
  return {
    name: tf.ensure_shape(value, [contract.sizes[axis] for axis in field.axes])
    for (name, field), value in zip(fields.items(), found, strict=True)
  }


def _map(steps: tf.data.Dataset, load: Callable) -> tf.data.Dataset:
  # There is no Python control flow for AutoGraph to rewrite.
  load = tf.autograph.experimental.do_not_convert(load)
  threads = min(os.cpu_count(), _MOST_THREADS)
  return steps.map(load, num_parallel_calls=threads, deterministic=True)


def _prefetched(batches: tf.data.Dataset) -> tf.data.Dataset:
  # The thread that tunes tf.data sleeps ever longer, and the end of a pass
  # waits for it: 0.4 s for one of 0.9 s. Here it has nothing to choose.
  options = tf.data.Options()
  options.autotune.enabled = False
  return batches.prefetch(2).with_options(options)
