"""Any step can be reached at once, and every row is seen once an epoch."""

import itertools

import numpy as np
import pytest

from mlm_jax.data import pipeline
from mlm_jax.data.corruption import bind
from mlm_jax.data.host_tensorflow import iterate
from mlm_jax.data.stream import Stream

SEQ_LEN = 32
NUM_ROWS = 53
NUM_HELDOUT = 11
BATCH = 8


@pytest.fixture(scope="module")
def train_rows(random_rows):
  rows = random_rows(NUM_ROWS, SEQ_LEN)
  rows[:, :2] = np.arange(NUM_ROWS)[:, None] + [10, 100]  # None like another.
  return rows


@pytest.fixture(scope="module")
def heldout_rows(random_rows):
  return random_rows(NUM_HELDOUT, SEQ_LEN, seed=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory, write_store, vocab, train_rows, heldout_rows):
  return write_store(
    tmp_path_factory.mktemp("rows") / "s",
    vocab,
    SEQ_LEN,
    train=train_rows,
    heldout=heldout_rows,
  )


@pytest.fixture
def batches(store, vocab, make_config):
  """Returns the batches of a split, by overrides of the configuration."""

  def read(split="train", *, first_step=0, bounds=(0, None), **overrides):
    config = make_config(
      **{"train.batch_size": BATCH, "train.steps": 25, **overrides}
    )
    local_rows = lambda size: (bounds[0], bounds[1] or size)
    if split == "heldout":
      found = pipeline.heldout_batches(
        config, store, vocab, local_rows=local_rows
      )
    else:
      stream = Stream(config, {"": store})
      found = pipeline.train_batches(
        config, stream, vocab, first_step=first_step, local_rows=local_rows
      )
    return list(iterate(found))

  return read


def assert_equal(left, right):
  assert left.keys() == right.keys()
  for name in left:
    np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def uncorrupted(batch):
  rows = batch["input_ids"].copy()
  np.put_along_axis(rows, batch["target_positions"], batch["target_ids"], 1)
  return rows


def row_numbers(batches, rows):
  """Returns which of `rows` each row of the batches is."""
  number = {row.tobytes(): i for i, row in enumerate(rows)}
  assert len(number) == len(rows)
  return [number[r.tobytes()] for batch in batches for r in uncorrupted(batch)]


def test_shapes_and_types_are_static(store, vocab, make_config):
  config = make_config(**{"train.batch_size": BATCH})
  slots = bind(config.corruption).num_targets(SEQ_LEN)
  stream = Stream(config, {"": store})
  spec = pipeline.train_batches(config, stream, vocab).element_spec
  widths = {name: s.shape[1] for name, s in spec.items()}
  assert widths.pop("input_ids") == SEQ_LEN
  assert set(widths.values()) == {slots}
  types = {name: s.dtype.name for name, s in spec.items()}
  assert types.pop("target_weights") == "float32"
  assert set(types.values()) == {"int32"}


@pytest.mark.parametrize("first_step", [1, 6, 7, 24])
def test_seeking_to_a_step_equals_iterating_to_it(batches, first_step):
  whole, rest = batches(), batches(first_step=first_step)
  assert len(whole) == 25
  assert len(rest) == 25 - first_step
  for left, right in zip(whole[first_step:], rest, strict=True):
    assert_equal(left, right)


@pytest.mark.parametrize("split", ["train", "heldout"])
@pytest.mark.parametrize("cuts", [(0, 4, 8), (0, 2, 4, 6, 8), (0, 1, 8)])
def test_batches_of_all_processes_join_to_the_global_batch(
  batches, split, cuts
):
  whole = batches(split)
  parts = [batches(split, bounds=bounds) for bounds in itertools.pairwise(cuts)]
  for step, batch in enumerate(whole):
    joined = {
      name: np.concatenate([part[step][name] for part in parts])
      for name in batch
    }
    assert_equal(joined, batch)


def test_batches_of_another_size_read_the_same_stream(batches):
  small = batches(**{"train.batch_size": 4, "train.steps": 50})
  large = batches()
  for name in large[0]:
    left = np.concatenate([batch[name] for batch in small])
    right = np.concatenate([batch[name] for batch in large])
    np.testing.assert_array_equal(left, right, err_msg=name)


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_each_epoch_is_another_permutation_of_all_rows(
  batches, train_rows, seed
):
  stream = row_numbers(batches(seed=seed), train_rows)
  epochs = [stream[i * NUM_ROWS :][:NUM_ROWS] for i in range(3)]
  for epoch in epochs:
    assert sorted(epoch) == list(range(NUM_ROWS))
  assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_masks_of_a_row_differ_between_epochs(batches, train_rows):
  found = batches()
  stream = row_numbers(found, train_rows)
  positions = np.concatenate([batch["target_positions"] for batch in found])
  weights = np.concatenate([batch["target_weights"] for batch in found])
  same = []
  for row in range(NUM_ROWS):
    first, second = [i for i, number in enumerate(stream) if number == row][:2]
    chosen = [set(positions[i][weights[i] > 0]) for i in (first, second)]
    if weights[first].sum() >= 3:
      same.append(chosen[0] == chosen[1])
  assert len(same) > 20
  assert sum(same) <= 2


def test_another_seed_gives_another_order_and_other_masks(batches, train_rows):
  one, other = batches(seed=1), batches(seed=2)
  assert row_numbers(one, train_rows) != row_numbers(other, train_rows)
  again = batches(seed=1)
  for left, right in zip(one, again, strict=True):
    assert_equal(left, right)


def test_order_and_masks_have_seeds_of_their_own(batches, train_rows):
  one = batches()
  order, masks = batches(order_seed=1), batches(mask_seed=1)
  assert row_numbers(masks, train_rows) == row_numbers(one, train_rows)
  assert row_numbers(order, train_rows) != row_numbers(one, train_rows)
  at = lambda found: whole_batch(found)["target_positions"]
  assert (at(masks) != at(one)).any()
  # Masks are a function of the place: the same draws for other rows.
  both = batches(order_seed=0, mask_seed=0, weights_seed=5, dropout_seed=5)
  for left, right in zip(one, both, strict=True):
    assert_equal(left, right)


def whole_batch(batches):
  """Returns batches as one."""
  return {k: np.concatenate([b[k] for b in batches]) for k in batches[0]}


def test_heldout_batches_cover_every_row_once(batches, heldout_rows):
  found = batches("heldout")
  assert [len(batch["input_ids"]) for batch in found] == [BATCH, BATCH]
  joined = whole_batch(found)
  # What fills up the last batch is padding, which nobody asks about.
  assert (joined["input_ids"][NUM_HELDOUT:] == 0).all()
  assert joined["target_weights"][NUM_HELDOUT:].sum() == 0
  rows = [{k: v[:NUM_HELDOUT] for k, v in joined.items()}]
  assert row_numbers(rows, heldout_rows) == list(range(NUM_HELDOUT))
  weights = joined["target_weights"]
  long = (heldout_rows != 0).sum(axis=1) > 10
  assert (weights[:NUM_HELDOUT].sum(axis=1)[long] > 0).all()


@pytest.mark.parametrize(
  "overrides",
  [
    {"data.packing": "single", "corruption.sentence_pairs": "nsp"},
    {"objective.name": "mixture", "corruption.prefix_share": 0.5},
    {
      "objective.name": "seq2seq",
      "model.num_decoder_layers": 1,
      "corruption.kind": "mass",
    },
    {
      "objective.name": "cmlm",
      "model.num_decoder_layers": 1,
      "corruption.kind": "cmlm",
    },
  ],
)
def test_the_last_heldout_batch_is_filled_up_with_blank_rows(
  batches, overrides
):
  joined = whole_batch(batches("heldout", **overrides))
  for name, value in joined.items():
    assert not value[NUM_HELDOUT:].any(), name
    assert value[:NUM_HELDOUT].any(), name


@pytest.mark.parametrize("kind", ["whole_words", "spans"])
def test_heldout_words_are_masked_whole_for_runs_that_mask_words(
  batches, heldout_rows, vocab, kind
):
  words = whole_batch(batches("heldout", **{"corruption.kind": kind}))
  tokens = whole_batch(batches("heldout"))
  assert not np.array_equal(words["input_ids"], tokens["input_ids"])
  hidden = np.zeros(words["input_ids"].shape, bool)
  row, slot = np.nonzero(words["target_weights"])
  hidden[row, words["target_positions"][row, slot]] = True
  # What goes on with a word is hidden as what it goes on with.
  inside = vocab.is_ordinary[heldout_rows] & ~vocab.starts_word[heldout_rows]
  inside[:, 1:] &= vocab.is_ordinary[heldout_rows[:, :-1]]
  hidden = hidden[:NUM_HELDOUT]
  # The only one of a row may be longer than all that may be masked, and cut.
  several = (hidden & ~inside).sum(axis=1) > 1
  assert several.sum() >= 3
  hidden, inside = hidden[several], inside[several]
  row, position = np.nonzero(inside[:, 1:])
  assert (hidden[row, position + 1] == hidden[row, position]).all()


@pytest.mark.parametrize("kind", ["token_masking", "whole_words", "spans"])
def test_every_heldout_target_is_shown_as_the_mask_token(batches, vocab, kind):
  """What is left unchanged would give itself away without any context."""
  batch = whole_batch(batches("heldout", **{"corruption.kind": kind}))
  shown = np.take_along_axis(
    batch["input_ids"], batch["target_positions"], axis=1
  )
  assert (shown[batch["target_weights"] > 0] == vocab.mask_id).all()


def test_heldout_batches_depend_on_no_setting_of_training(batches):
  base = batches("heldout")
  other = batches(
    "heldout",
    seed=7,
    **{"corruption.mask_rate": 0.4, "corruption.mask_share": 0.1},
  )
  for left, right in zip(base, other, strict=True):
    assert_equal(left, right)
  few = batches("heldout", **{"train.eval_batches": 1})
  assert len(few) == 1
  assert_equal(few[0], base[0])
  assert len(batches("heldout", **{"train.eval_batches": 9})) == 2
