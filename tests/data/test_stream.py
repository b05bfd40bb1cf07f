"""Each place of the stream is a row of a source, found at once."""

import itertools

import numpy as np
import pytest

from mlm_jax.data import pipeline
from mlm_jax.data import stream as stream_lib
from mlm_jax.data.host_tensorflow import iterate, tf
from mlm_jax.data.stream import Stream, places_of_sources, schedule

SEQ_LEN = 16
SIGMAS = 5
ROWS = {"large": 50, "small": 7, "tiny": 3}


@pytest.fixture(scope="module")
def stores(tmp_path_factory, write_store, random_rows, vocab):
  """A store a source, of rows that begin with their source and number."""
  path, found = tmp_path_factory.mktemp("rows"), {}
  for source, (name, count) in enumerate(ROWS.items()):
    rows = random_rows(count, SEQ_LEN, seed=source)
    rows[:, 1], rows[:, 2] = 10 + source, 100 + np.arange(count)
    found[name] = write_store(path / name, vocab, SEQ_LEN, train=rows)
  return found


@pytest.fixture
def make_stream(make_config, stores):
  """Returns a stream by the weights of its sources, and more keys."""

  def make(weights, read=None, **overrides):
    sources = {
      f"data.sources.{name}.{key}": value
      for name, weight in weights.items()
      for key, value in (("corpus", f"text:{name}"), ("weight", weight))
    }
    config = make_config(**{"data.corpus": "", **sources, **overrides})
    return Stream(config, {name: stores[name] for name in weights}, read)

  return make


def rows_at(stream, start, stop):
  """Returns (source, row) at places of a stream, and holds `read` to them."""
  places = tf.range(start, stop, dtype=tf.int64)
  sources, rows = (array.numpy() for array in stream.rows(places))
  read = stream.read(sources, rows)
  numbers = [list(ROWS).index(name) for name in stream.shares]
  np.testing.assert_array_equal(read[:, 1], 10 + np.take(numbers, sources))
  np.testing.assert_array_equal(read[:, 2], 100 + rows)
  return [(int(s), int(r)) for s, r in zip(sources, rows, strict=True)]


def counts_before_each_place(order, num_sources):
  chosen = np.asarray(order)[:, None] == np.arange(num_sources)
  return np.cumsum(chosen, axis=0)


@pytest.mark.parametrize("seed", range(20))
def test_each_source_is_within_one_row_of_its_share_at_every_place(seed):
  rng = np.random.default_rng(seed)
  for _ in range(10):
    places = rng.integers(1, 40, rng.integers(1, 12))
    order = schedule(places)
    total = places.sum()
    ideal = np.arange(1, total + 1)[:, None] * places / total
    counts = counts_before_each_place(order, len(places))
    assert np.abs(counts - ideal).max() < 1
    assert counts[-1].tolist() == places.tolist()


def test_weights_that_are_fractions_have_exact_shares():
  for weights, places in (
    ([3, 1], [3, 1]),
    ([0.7, 0.2, 0.1], [7, 2, 1]),
    ([1, 1, 1], [1, 1, 1]),
    ([0.5], [1]),
    ([1e-4, 1], [1, 10_000]),
  ):
    assert places_of_sources(weights).tolist() == places


@pytest.mark.parametrize("count", [2, 5, 1_833])
def test_other_weights_are_rounded_and_no_source_is_left_out(count):
  weights = np.random.default_rng(count).random(count) ** 4
  weights[0] = 1e-12
  places = places_of_sources(weights)
  assert places.sum() == 65_536
  assert places.min() == 1
  shares = weights / weights.sum()
  off = np.abs(places - 65_536 * shares)
  # A place for each takes them from the largest.
  assert off.max() < max(2, 65_536 * shares.max() * count / 65_536)


def test_the_stream_is_as_its_weights_and_reads_each_source_by_epochs(
  make_stream,
):
  stream = make_stream({"large": 2, "small": 0.5, "tiny": 1})
  found = rows_at(stream, 0, 700)
  order = [source for source, _ in found]
  ideal = np.arange(1, 701)[:, None] * [4 / 7, 1 / 7, 2 / 7]
  assert np.abs(counts_before_each_place(order, 3) - ideal).max() < 1
  assert list(stream.shares.values()) == pytest.approx([4 / 7, 1 / 7, 2 / 7])
  for source, size in enumerate(ROWS.values()):
    rows = [row for of, row in found if of == source]
    epochs = [rows[n : n + size] for n in range(0, len(rows) - size, size)]
    assert len(epochs) > 3
    for epoch in epochs:
      assert sorted(epoch) == list(range(size))
    assert len(set(map(tuple, epochs))) > 1
  counts = [order.count(source) for source in range(3)]
  assert list(stream.rows_read(700).values()) == counts
  assert list(stream.epochs(700).values()) == pytest.approx(
    [n / size for n, size in zip(counts, ROWS.values(), strict=True)]
  )


@pytest.mark.parametrize("weights", [{"large": 1}, {"large": 3, "small": 1}])
def test_any_place_is_reached_at_once(make_stream, weights):
  stream = make_stream(weights)
  whole = rows_at(stream, 0, 300)
  for start in (1, 77, 255):
    assert rows_at(stream, start, 300) == whole[start:]
  far = 10**12
  assert rows_at(stream, far, far + 3) == rows_at(stream, far - 5, far + 3)[5:]


@pytest.mark.parametrize("stop", [1, 100, 301])
def test_a_stream_goes_on_from_what_was_read_of_it(make_stream, stop):
  weights = {"large": 3, "small": 1, "tiny": 1}
  stream = make_stream(weights)
  whole = rows_at(stream, 0, 400)
  again = make_stream(weights, stream.after(stop))
  assert (again.name, again.place) == (stream.name, stop)
  assert rows_at(again, stop, 400) == whole[stop:]
  assert again.after(400) == stream.after(400)


def test_sources_go_on_where_they_were_when_their_weights_change(make_stream):
  """Of phases: a source alone, then with others, then by other weights."""
  mixes = [
    {"large": 1},
    {"large": 1, "small": 1},
    {"small": 1, "large": 3},
    {"tiny": 1, "small": 2},
    {"large": 1},
  ]
  read, rows = {}, {name: [] for name in ROWS}
  for mix in mixes:
    stream = make_stream(mix, read)
    names = list(mix)
    for source, row in rows_at(stream, stream.place, stream.place + 40):
      rows[names[source]].append(row)
    read |= stream.after(stream.place + 40)
  for name, size in ROWS.items():
    expected = stream_lib.shuffled(
      tf.range(len(rows[name]), dtype=tf.int64), size, seed=0
    )
    assert rows[name] == expected.numpy().tolist(), name


def test_the_share_of_a_source_may_depend_on_its_size(make_stream, stores):
  tokens = {n: store.info["train"].tokens for n, store in stores.items()}
  for exponent in (0.0, 0.3, 0.7, 1.0):
    stream = make_stream(
      dict.fromkeys(ROWS, 2.0), **{"data.size_exponent": exponent}
    )
    scaled = {name: count**exponent for name, count in tokens.items()}
    for name, share in stream.shares.items():
      expected = scaled[name] / sum(scaled.values())
      assert share == pytest.approx(expected, abs=2e-5)


def test_rows_to_skip_are_left_out_of_a_mix(make_stream):
  weights = {"large": 3, "small": 1}
  whole = rows_at(make_stream(weights), 0, 200)
  stream = make_stream(weights, **{"data.skip_rows": "10..20,150..151"})
  assert rows_at(stream, 0, 189) == whole[:10] + whole[20:150] + whole[151:]
  again = make_stream(
    weights, stream.after(60), **{"data.skip_rows": "10..20,150..151"}
  )
  assert rows_at(again, 60, 189) == rows_at(stream, 60, 189)


def test_batches_of_a_mix_are_equal_for_any_number_of_processes(
  make_stream, make_config, stores, vocab
):
  weights = {"large": 2, "tiny": 1}
  stream = make_stream(weights)
  config = make_config(
    **{"train.batch_size": 8, "train.steps": 20, "data.seq_len": SEQ_LEN}
  )

  def batches(start=0, stop=8):
    return list(
      iterate(
        pipeline.train_batches(
          config, stream, vocab, local_rows=lambda size: (start, stop)
        )
      )
    )

  whole = batches()
  parts = [batches(*bounds) for bounds in itertools.pairwise((0, 2, 4, 8))]
  for step, batch in enumerate(whole):
    for name, value in batch.items():
      joined = np.concatenate([part[step][name] for part in parts])
      np.testing.assert_array_equal(joined, value)


@pytest.mark.parametrize("num_rows", [1, 2, 3, 7, 100, 1025])
def test_shuffle_of_few_rows_is_a_permutation(num_rows):
  rows = stream_lib.shuffled(
    tf.range(5 * num_rows, dtype=tf.int64), num_rows, seed=3
  ).numpy()
  for epoch in rows.reshape(5, num_rows):
    assert sorted(epoch) == list(range(num_rows))


def biases(num_rows, sigmas_from_uniform, seed=0, count=200_000, bins=200):
  """Returns how far values, gaps and correlations are from chance."""
  rows = stream_lib.shuffled(
    tf.range(count, dtype=tf.int64), num_rows, seed
  ).numpy()
  gaps = np.diff(rows) % num_rows
  histogram = lambda x: np.bincount(x * bins // num_rows, minlength=bins)
  centred = (rows - rows.mean()) / rows.std()
  correlations = [
    np.mean(centred[:-lag] * centred[lag:]) * np.sqrt(count)
    for lag in (1, 2, 3, 7, 64)
  ]
  return {
    "values": sigmas_from_uniform(histogram(rows)),
    "gaps": sigmas_from_uniform(histogram(gaps)),
    "correlation": np.abs(correlations).max(),
  }


@pytest.mark.parametrize(
  "num_rows", [500_000_000, 1_000_000_000, 5_000_000_000]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_shuffle_of_many_rows_is_unbiased(num_rows, seed, sigmas_from_uniform):
  for name, sigmas in biases(num_rows, sigmas_from_uniform, seed).items():
    assert sigmas < SIGMAS, name


@pytest.mark.parametrize("num_rows", [500_000_000, 1_000_000_000])
def test_too_few_shuffle_rounds_are_detected(
  monkeypatch, num_rows, sigmas_from_uniform
):
  """TensorFlow's default of 4 is biased, and the statistics above see it."""
  monkeypatch.setattr(stream_lib, "_SHUFFLE_ROUNDS", 4)
  assert biases(num_rows, sigmas_from_uniform)["gaps"] > 10 * SIGMAS
