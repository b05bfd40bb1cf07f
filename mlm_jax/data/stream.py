"""The stream of rows of a phase: place -> (source, row of it).

Nothing about the order is stored. Sources take turns by a schedule of at most
65,536 places, which repeats; of each source all rows are read once an epoch, in
the order of a permutation that is computed. So every place is found at once.

Schedule: after any number of places, each source was read as often as its share
says, within one row. The n-th row of a source must fall into the window of
places that this leaves to it, and of the sources whose windows are open, the
one goes first whose window closes first (Tijdeman 1980; as Pfair scheduling,
Baruah et al. 1996).
"""

from __future__ import annotations

import fractions
import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlm_jax.config import Config
from mlm_jax.data.host_tensorflow import tf
from mlm_jax.data.rows import RowStore, fingerprint

# Shares that are no fractions of so many places are rounded to them.
_MAX_PERIOD = 1 << 16

# TensorFlow's default of 4 leaves neighbours together (chi-square of the gaps:
# 770 a degree of freedom at 1e9 rows); 8 are nearly, 16 wholly clean.
_SHUFFLE_ROUNDS = 16


def places_of_sources(weights: Sequence[float]) -> np.ndarray:
  """Returns of how many places of a period each source has, int64 [sources].

  They are proportional to the weights where these are fractions of a small
  denominator. Otherwise they are rounded to 65,536 places, at least one for
  each source.
  """
  exact = [fractions.Fraction(repr(float(weight))) for weight in weights]
  total = sum(exact)
  shares = [weight / total for weight in exact]
  period = math.lcm(*(share.denominator for share in shares))
  if period <= _MAX_PERIOD:
    return np.array([int(share * period) for share in shares])
  # Largest remainders, beyond one place for each.
  free = _MAX_PERIOD - len(shares)
  ideal = np.maximum(np.array(shares, float) * _MAX_PERIOD - 1, 0)
  ideal *= free / ideal.sum()
  places = np.floor(ideal).astype(np.int64)
  largest = np.argsort(places - ideal, kind="stable")
  places[largest[: free - places.sum()]] += 1
  return places + 1


def schedule(places: Sequence[int]) -> np.ndarray:
  """Returns the source at each place of a period, int32 [sum(places)]."""
  period = int(sum(places))
  opening = [[] for _ in range(period + 1)]
  opening[0] = [(source, 0) for source in range(len(places)) if places[source]]
  open_windows, order = [], np.empty(period, np.int32)
  for place in range(period):
    for source, number in opening[place]:
      closes = -(-(number + 1) * period // int(places[source]))
      heapq.heappush(open_windows, (closes, source, number))
    _, source, number = heapq.heappop(open_windows)
    order[place] = source
    number += 1
    if number < places[source]:
      opens = number * period // int(places[source])
      opening[max(opens, place + 1)].append((source, number))
  return order


class Stream:
  """The rows of a phase, in the order in which they are read.

  Args:
    config: the phase's; says what is left out, and seeds the order.
    stores: the rows of each source, by its name.
    read: how many rows of each order were read before, as `after` returned it.
      A source goes on where it was, whatever the mix was that it was read in.

  Attributes:
    name: of its order: what is read at a place of it.
    place: the number of rows of it that were read before.
  """

  def __init__(
    self,
    config: Config,
    stores: Mapping[str, RowStore],
    read: Mapping[str, int] | None = None,
  ):
    self._skipped = config.data.skipped_ranges
    self._seed = config.seeds.order
    self._stores = dict(stores)
    self._orders = {
      name: f"{store.path.name}, seed {self._seed}"
      for name, store in stores.items()
    }
    sizes = {name: s.info["train"].tokens for name, s in stores.items()}
    weights = config.data.source_weights(sizes)
    self._places = places_of_sources(list(weights.values()))
    self._order = schedule(self._places)
    self._is_mix = len(stores) > 1
    self.name, read = next(iter(self._orders.values())), read or {}
    if self._is_mix:
      orders = self._by_name(self._places).items()
      mix = {self._orders[name]: places for name, places in orders}
      self.name = f"mix {fingerprint(mix)}"
    self.place = read.get(self.name, 0)
    # What comes to the number of its turns in the mix, for each source.
    self._offsets = np.zeros_like(self._places)
    if self._is_mix:
      before = [read.get(order, 0) for order in self._orders.values()]
      self._offsets = np.array(before) - self._turns(self.place)

  @property
  def shares(self) -> dict[str, float]:
    """The share of the rows that each source has."""
    return self._by_name(self._places / len(self._order))

  def rows_read(self, place: int) -> dict[str, int]:
    """Returns how many rows of each source are read before a place."""
    return self._by_name(self._turns(place) + self._offsets)

  def epochs(self, place: int) -> dict[str, float]:
    """Returns how often all rows of each source are read before a place."""
    return {
      name: count / self._stores[name].info["train"].num_rows
      for name, count in self.rows_read(place).items()
    }

  def after(self, place: int) -> dict[str, int]:
    """Returns how many rows of each order are read before a place."""
    found = {self.name: place}
    if self._is_mix:
      rows = self.rows_read(place)
      found |= {self._orders[name]: count for name, count in rows.items()}
    return found

  def position(self, place: int) -> int:
    """Returns the position in the stream of the row that is read at a place."""
    return int(leave_out(self._skipped, place))

  def rows(self, places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the source at each place, by its number, and which row of it.

    Args:
      places: int64 [n].
    """
    positions = leave_out(self._skipped, places, tf.where)
    sources, turns = tf.zeros_like(positions), positions
    if self._is_mix:
      periods = positions // len(self._order)
      place = positions % len(self._order)
      sources = tf.gather(tf.constant(self._order, tf.int64), place)
      turns = periods * tf.gather(self._places, sources)
      turns += tf.gather(_ranks(self._order), place)
      turns += tf.gather(self._offsets, sources)
    num_rows = [s.info["train"].num_rows for s in self._stores.values()]
    num_rows = tf.gather(tf.constant(num_rows, tf.int64), sources)
    return sources, shuffled(turns, num_rows, self._seed)

  def read(self, sources: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Returns rows, as `rows` names them, int32 [n, L]."""
    stores = list(self._stores.values())
    if not self._is_mix:
      return stores[0].read("train", rows).astype(np.int32)
    rows_BL = np.empty([len(rows), stores[0].seq_len], np.int32)
    for source in np.unique(sources):
      mine = sources == source
      rows_BL[mine] = stores[source].read("train", rows[mine])
    return rows_BL

  def _by_name(self, of_sources: np.ndarray) -> dict[str, Any]:
    return dict(zip(self._stores, of_sources.tolist(), strict=True))

  def _turns(self, place: int) -> np.ndarray:
    """Returns how many of the positions before a place each source has."""
    periods, rest = divmod(self.position(place), len(self._order))
    counts = np.bincount(self._order[:rest], minlength=len(self._places))
    return periods * self._places + counts


def leave_out(ranges: Sequence[tuple[int, int]], places, where=np.where):
  """Returns the position in the stream of the n-th row that is read of it.

  Args:
    ranges: positions that are not read, in order.
    places: how many rows are read before each.
    where: that of the library whose integers `places` are.
  """
  for first, end in ranges:
    places = where(places >= first, places + (end - first), places)
  return places


def shuffled(
  turns: tf.Tensor, num_rows: int | tf.Tensor, seed: int
) -> tf.Tensor:
  """Returns the rows of a source that are read at its int64 turns [n].

  Each epoch is a permutation of all rows, another one for each epoch.
  """
  epochs = tf.cast(turns // num_rows, tf.int32)
  seeds = tf.stack(
    [tf.fill(tf.shape(epochs), seed), epochs, tf.zeros_like(epochs)], axis=1
  )
  # tf.random.experimental.index_shuffle, whose wrapper takes one seed alone.
  return tf.raw_ops.RandomIndexShuffle(
    index=turns % num_rows,
    seed=seeds,
    max_index=tf.cast(num_rows - 1, tf.int64),
    rounds=_SHUFFLE_ROUNDS,
  )


def _ranks(order: np.ndarray) -> np.ndarray:
  """Returns how many places before each have the same source, int64."""
  by_source = np.argsort(order, kind="stable")
  first = np.searchsorted(order[by_source], order[by_source])
  ranks = np.empty(len(order), np.int64)
  ranks[by_source] = np.arange(len(order)) - first
  return ranks
