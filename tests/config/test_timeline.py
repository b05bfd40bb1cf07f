"""Lengths in tokens, and the warm-up of the batch size."""

import itertools

import numpy as np
import pytest

from mlm_jax import config as config_lib
from mlm_jax.errors import InputError
from mlm_jax.training import schedules


def build(**keys):
  values = config_lib.flat(config_lib.Config())
  values |= {"data.seq_len": 64, "optim.warmup_steps": 0}
  return config_lib.build(config_lib.nest(config_lib.merge(values, keys)))


def make(**train):
  return build(**{f"train.{name}": value for name, value in train.items()})


def test_steps_of_one_size_are_one_stage():
  timeline = make(steps=50, batch_size=8).timeline
  (stage,) = timeline.stages
  assert (stage.batch_size, stage.first_step, stage.num_steps) == (8, 0, 50)
  assert timeline.num_rows == 400


@pytest.mark.parametrize(
  ("tokens", "steps"), [(1, 1), (512, 1), (513, 2), (51_200, 100)]
)
def test_tokens_are_reached_by_the_last_step(tokens, steps):
  assert make(tokens=tokens, batch_size=8).num_steps == steps


def test_the_batch_size_grows_linearly_over_so_many_tokens():
  timeline = make(
    tokens=200_000,
    batch_size=32,
    initial_batch_size=8,
    batch_warmup_tokens=30_720,
  ).timeline
  assert timeline.batch_sizes == [8, 16, 24, 32]
  warmup, full = timeline.stages[:-1], timeline.stages[-1]
  # (8 + 16 + 24) rows of 64 tokens, 10 times.
  assert [stage.num_steps for stage in warmup] == [10, 10, 10]
  assert timeline.rows_before(full.first_step) * 64 == 30_720
  sizes = [timeline.batch_size(step) for step in range(timeline.num_steps)]
  assert sizes[:40] == [8] * 10 + [16] * 10 + [24] * 10 + [32] * 10
  rows = [timeline.rows_before(step) for step in range(timeline.num_steps + 1)]
  assert [b - a for a, b in itertools.pairwise(rows)] == sizes
  assert 0 <= timeline.num_rows * 64 - 200_000 < 32 * 64


@pytest.mark.parametrize(
  ("first", "last", "most", "sizes"),
  [
    (768, 4608, 8, [768, 1536, 2304, 3072, 3840, 4608]),
    (72, 4608, 4, [72, 1152, 2304, 3456, 4608]),
    (6, 9, 8, [6, 9]),
    (7, 9, 1, [7, 9]),
  ],
)
def test_sizes_divide_over_what_both_ends_do(first, last, most, sizes):
  timeline = make(
    steps=1000,
    batch_size=last,
    initial_batch_size=first,
    batch_warmup_tokens=1,
    batch_warmup_sizes=most,
  ).timeline
  assert timeline.batch_sizes == sizes


def test_lengths_become_steps_of_full_batches():
  sizes = {
    "train.tokens": 200_000,
    "train.batch_size": 32,
    "train.initial_batch_size": 8,
    "train.batch_warmup_tokens": 30_720,
  }
  # A full batch has 2,048 tokens.
  for tokens, steps in ((1, 1), (2048, 1), (2049, 2), (20_480, 10)):
    for name in ("warmup", "decay"):
      optim = build(**sizes, **{f"optim.{name}_tokens": tokens}).optim_in_steps
      assert getattr(optim, f"{name}_steps") == steps
      assert getattr(optim, f"{name}_tokens") == 0
  # Steps of 8 rows are a quarter of a full batch.
  for steps, full in ((4, 1), (10, 3), (20, 8), (30, 15), (31, 16)):
    optim = build(**sizes, **{"optim.warmup_steps": steps}).optim_in_steps
    assert optim.warmup_steps == full
  optim = build(**sizes, **{"optim.decay_steps": 10}).optim_in_steps
  assert optim.decay_steps == 10


def test_the_learning_rate_follows_the_rows_of_a_growing_batch():
  config = build(
    **{
      "train.tokens": 30_720 + 10 * 2048,
      "train.batch_size": 32,
      "train.initial_batch_size": 8,
      "train.batch_warmup_tokens": 30_720,
      "optim.peak_lr": 1.0,
      "optim.warmup_tokens": 10 * 2048,
    }
  )
  at = schedules.of_phase(config, first_step=100)
  rates = np.array([float(at(step)) for step in range(100, 140)])
  rows = np.array([config.timeline.rows_before(step) for step in range(40)])
  expected = np.where(rows < 320, rows / 320, (800 - rows) / (800 - 320))
  np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_the_key_that_is_set_replaces_its_alternative():
  values = config_lib.flat(config_lib.Config())
  found = config_lib.merge(values, {"train.tokens": 10, "optim.b2": 0.98})
  assert (found["train.tokens"], found["train.steps"]) == (10, 0)
  assert found["optim.warmup_steps"] == values["optim.warmup_steps"]
  again = config_lib.merge(found, {"train.steps": 5})
  assert (again["train.tokens"], again["train.steps"]) == (0, 5)


@pytest.mark.parametrize(
  ("batch_size", "count"), [(32, 4), (24, 3), (16, 2), (8, 1), (20, 4), (4, 1)]
)
def test_microbatches_do_not_grow_during_the_warmup(batch_size, count):
  train = make(steps=9, batch_size=32, microbatches=4).train
  assert train.microbatches_of(batch_size) == count
  assert batch_size / count <= 8


@pytest.mark.parametrize(
  ("keys", "parts"),
  [
    ({"train.steps": 0}, ["train.steps", "train.tokens"]),
    (
      {"train.steps": 5, "train.tokens": 5},
      ["train.tokens=5", "train.steps=5", "0"],
    ),
    (
      {"optim.warmup_steps": 5, "optim.warmup_tokens": 5},
      ["optim.warmup_tokens=5", "optim.warmup_steps=5"],
    ),
    (
      {"train.tokens": 99_999, "optim.warmup_tokens": 100_000},
      ["optim.warmup_tokens=100000", "train.tokens=99999"],
    ),
    (
      {"train.tokens": 99_999, "optim.decay_tokens": 120_000},
      ["optim.decay_tokens=120000", "train.tokens=99999"],
    ),
    (
      {"train.initial_batch_size": 8},
      ["train.initial_batch_size", "train.batch_warmup_tokens"],
    ),
    (
      {"train.initial_batch_size": 256, "train.batch_warmup_tokens": 9},
      ["train.initial_batch_size=256", "train.batch_size=256"],
    ),
    (
      {
        "train.initial_batch_size": 128,
        "train.batch_warmup_tokens": 10**9,
        "train.tokens": 10**8,
      },
      ["train.batch_warmup_tokens=1000000000", "train.tokens=100000000"],
    ),
  ],
)
def test_invalid_lengths_raise_input_error(keys, parts):
  with pytest.raises(InputError) as error:
    build(**keys)
  for part in parts:
    assert part in str(error.value)
  assert "\n" not in str(error.value)
