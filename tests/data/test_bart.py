"""BART's noises: what each removes, and what it keeps."""

import collections
import dataclasses
import itertools
import math

import numpy as np
import pytest

from mlm_jax.config import CorruptionConfig
from mlm_jax.config.corruption import NOISES
from mlm_jax.data.corruption.primitives.spans import poisson_law
from mlm_jax.errors import InputError
from tests.data.packed import documents_of

SIGMAS = 5


@pytest.fixture
def noised(corrupt):
  """Returns rows with noise."""

  def noised(rows, *noises, **options):
    options = {"mask_share": 1, "random_share": 0, "mask_rate": 0.3, **options}
    batch = corrupt(rows, kind="bart", noises=",".join(noises), **options)
    np.testing.assert_array_equal(batch["decoder_ids"], rows)
    return batch["input_ids"]

  return noised


@pytest.mark.parametrize(
  "noises",
  [
    *((name,) for name in NOISES),
    NOISES,
    ("text_infilling", "sentence_permutation"),
  ],
)
@pytest.mark.parametrize("mask_rate", [0.05, 0.5])
def test_noises_keep_starts_and_ends_and_lengthen_no_row(
  noised, random_rows, vocab, noises, mask_rate
):
  rows = random_rows(200, 64)
  out = noised(rows, *noises, mask_rate=mask_rate)
  assert out.shape == rows.shape
  for row, seen in zip(rows, out, strict=True):
    texts, noisy = documents_of(row, vocab), documents_of(seen, vocab)
    assert len(texts) == len(noisy)
    for text, one in zip(texts, noisy, strict=True):
      assert one[-1] == vocab.end_id and one.count(vocab.end_id) == 1
      # Nothing is there that was not, but masks.
      left = collections.Counter(one) - collections.Counter(text)
      assert set(left) <= {vocab.mask_id}
  # The padding is at the end.
  assert (np.diff((out == vocab.pad_id).astype(int), axis=1) >= 0).all()


def test_token_deletion_deletes_the_mask_rate_and_keeps_the_order(
  noised, random_rows, vocab
):
  rows = random_rows(200, 64)
  out = noised(rows, "token_deletion")
  for row, seen in zip(rows, out, strict=True):
    row, seen = row[row != vocab.pad_id], seen[seen != vocab.pad_id]
    maskable = vocab.is_ordinary[row].sum()
    assert abs(len(row) - len(seen) - 0.3 * maskable) <= 0.5 + 1e-4
    left = iter(row)
    assert all(token in left for token in seen), "a subsequence"


def test_document_rotation_is_uniform(
  noised, full_rows, vocab, sigmas_from_uniform
):
  rows = full_rows(4000, 10)
  rows[:, 1:9] = vocab.is_ordinary.nonzero()[0][:8]
  out = noised(rows, "document_rotation")
  begins = []
  for row, seen in zip(rows, out, strict=True):
    begins.append(row.tolist().index(seen[1]))
    assert seen[1:9].tolist() == np.roll(row[1:9], 1 - begins[-1]).tolist()
  counts = np.bincount(begins)[1:]
  assert counts.size == 8
  assert abs(sigmas_from_uniform(counts)) < SIGMAS


def test_sentence_permutations_are_uniform(noised, vocab, sigmas_from_uniform):
  stop = int(np.flatnonzero(vocab.is_ordinary & (vocab.stops == 1))[0])
  begins = vocab.is_ordinary & vocab.starts_word & (vocab.stops == 0)
  words = np.flatnonzero(begins)[:6].tolist()
  first = [[words[0], words[1], stop], [words[2], stop], [words[3]]]
  second = [[words[4], stop], [words[5], stop]]
  row = []
  for document in (first, second):
    row += [vocab.start_id, *itertools.chain(*document), vocab.end_id]
  rows = np.array([[*row, vocab.pad_id]] * 6000)
  out = noised(rows, "sentence_permutation")
  orders = collections.Counter()
  for seen in out:
    one, two = documents_of(seen, vocab)
    for document, sentences in ((one, first), (two, second)):
      orders_of = [
        order
        for order in itertools.permutations(range(len(sentences)))
        if [t for i in order for t in sentences[i]] == document[1:-1]
      ]
      assert len(orders_of) == 1
      orders[orders_of[0]] += 1
  assert len(orders) == math.factorial(3) + math.factorial(2)
  for size in (2, 3):
    counts = [n for order, n in orders.items() if len(order) == size]
    assert abs(sigmas_from_uniform(counts)) < SIGMAS


def test_text_infilling_span_lengths_follow_the_poisson_law(
  noised, full_rows, vocab
):
  vocab_of_words = np.ones(vocab.size, bool)
  num_rows, length = 2000, 130
  rows = full_rows(num_rows, length)
  # Every token another one, so that it is known which are missing.
  rows[:, 1:-1] = vocab.is_ordinary.nonzero()[0][: length - 2]
  out = noised(
    rows,
    "text_infilling",
    vocab=dataclasses.replace(vocab, starts_word=vocab_of_words),
  )
  sizes = np.zeros(20)
  for row, seen in zip(rows, out, strict=True):
    place = {token: i for i, token in enumerate(row)}
    seen = seen[seen != vocab.pad_id]
    at = [place.get(token, -1) for token in seen]
    spans = []
    for i, where in enumerate(at):
      if where < 0:
        assert at[i - 1] >= 0 and at[i + 1] >= 0, "something between two masks"
        spans.append(at[i + 1] - at[i - 1] - 1)
    assert sum(spans) == round(0.3 * (length - 2))
    np.add.at(sizes, spans, 1)
  # Drawn until there are enough: the last is cut, which makes short ones of it.
  law = poisson_law(3.0)
  assert sizes[0] / sizes.sum() == pytest.approx(law[0], abs=0.01)
  for size in range(2, 7):
    assert sizes[size] / sizes.sum() == pytest.approx(law[size], abs=0.02)


def test_inserted_masks_lengthen_no_row(noised, full_rows, vocab):
  every = dataclasses.replace(vocab, starts_word=np.ones(vocab.size, bool))
  rows = full_rows(500, 40)
  # Most spans are empty.
  out = noised(
    rows, "text_infilling", mean_span=0.2, mask_rate=0.16, vocab=every
  )
  assert (out[:, 0] == vocab.start_id).all()
  assert ((out == vocab.end_id).sum(axis=1) == 1).all()


def test_poisson_law():
  law = poisson_law(3.0)
  assert law.sum() == pytest.approx(1)
  assert law @ np.arange(len(law)) == pytest.approx(3, abs=1e-4)
  assert law[2] == pytest.approx(math.exp(-3) * 9 / 2, rel=1e-5)


def test_an_unknown_noise_raises_input_error():
  with pytest.raises(InputError, match="did you mean 'token_deletion'"):
    CorruptionConfig(kind="bart", noises="token_deletions")
