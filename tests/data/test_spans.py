"""Spans of words: their lengths, their places, and how they are replaced."""

import collections
import dataclasses

import numpy as np
import pytest

from mlm_jax.config import CorruptionConfig
from mlm_jax.data.corruption.primitives.random import RowRandom
from mlm_jax.data.corruption.primitives.spans import place
from mlm_jax.data.corruption.spans import span_law

SIGMAS = 5
KINDS = [
  {"kind": "spans"},
  {"kind": "spans", "span_law": "inverse", "max_span": 3},
]


@pytest.mark.parametrize("kind", KINDS)
def test_span_lengths_follow_their_law(
  chosen_of, corrupt, full_rows, vocab, kind
):
  vocab = dataclasses.replace(vocab, starts_word=np.ones(vocab.size, bool))
  num_rows, targets = 3000, 19
  chosen = chosen_of(corrupt(full_rows(num_rows, 128), vocab=vocab, **kind))
  assert (chosen.sum(axis=1) == targets).all()
  # There is something between any two, so that a run is a span.
  ends = np.diff(np.pad(chosen, ((0, 0), (1, 1))).astype(int))
  rows, starts = np.nonzero(ends == 1)
  lengths = np.nonzero(ends == -1)[1] - starts
  law = span_law(CorruptionConfig(**kind))
  assert law[0] == 0
  found = np.zeros([num_rows, len(law)])
  np.add.at(found, (rows, lengths), 1)
  # Spans are drawn until they are enough; the last is cut to what is left.
  expected = np.zeros([targets + 1, len(law)])
  for left in range(1, targets + 1):
    for length, p in list(enumerate(law))[1:]:
      cut = min(length, left)
      expected[left] += p * expected[left - cut]
      expected[left, cut] += p
  error = found.mean(axis=0) - expected[targets]
  sigma = found.std(axis=0) / np.sqrt(num_rows) + 1e-9
  assert (np.abs(error / sigma)[1:] < SIGMAS).all()


def test_geometric_span_lengths_are_those_of_the_paper():
  law = span_law(CorruptionConfig(kind="spans"))
  assert law @ np.arange(11) == pytest.approx(3.8, abs=0.01)
  assert law[2:] / law[1:-1] == pytest.approx(0.8)


def test_span_placements_are_uniform_with_a_gap_between_spans(
  sigmas_from_uniform,
):
  random = RowRandom(0, 0, 12_000)
  lengths = np.full([12_000, 2], [2, 1], np.int32)
  starts, fits = place(lengths, np.full(12_000, 6), random.sort_keys(8))
  assert fits.all()
  found = collections.Counter(map(tuple, starts.tolist()))
  possible = {
    (a, b) for a in range(5) for b in range(6) if b + 1 < a or a + 2 < b
  }
  assert set(found) == possible
  assert abs(sigmas_from_uniform(np.array(list(found.values())))) < SIGMAS


def test_spans_without_room_are_dropped():
  random = RowRandom(0, 0, 1)
  lengths = np.array([[3, 2, 1]])
  fits = lambda room: place(lengths, np.array([room]), random.sort_keys(16))[1][
    0
  ].tolist()
  assert fits(8) == [True, True, True]
  assert fits(7) == [True, True, False]
  assert fits(2) == [False, False, False]


def test_all_tokens_of_a_span_are_replaced_in_the_same_way(
  chosen_of, corrupt, full_rows, vocab
):
  rows = full_rows(300, 128)
  batch = corrupt(rows, kind="spans", mask_share=0.5, random_share=0.0)
  chosen, hidden = chosen_of(batch), batch["input_ids"] == vocab.mask_id
  inner = chosen[:, 1:] & chosen[:, :-1]
  assert inner.any()
  assert (hidden[:, 1:] == hidden[:, :-1])[inner].all()
  assert 0.4 < hidden[chosen].mean() < 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_short_rows_have_spans(chosen_of, corrupt, full_rows, vocab, kind):
  vocab = dataclasses.replace(vocab, starts_word=np.ones(vocab.size, bool))
  rows = full_rows(300, 8)
  batch = corrupt(rows, vocab=vocab, mask_rate=0.3, **kind)
  assert (batch["target_weights"].sum(axis=1) >= 1).all()
