"""Where sentences begin, by the pieces alone."""

import dataclasses

import numpy as np
import pytest

from mlm_jax.data.corruption.primitives.sentences import sentence_starts


def test_a_sentence_begins_with_its_document_and_after_a_stop(tokenizer):
  texts = ["it is 3.14. then? no", "the value!"]
  vocab = tokenizer.vocabulary
  row = []
  for ids in tokenizer.encode(texts):
    row += [vocab.start_id, *ids, vocab.end_id]
  row += [vocab.pad_id] * 3
  starts = sentence_starts(np.array([row], np.int32), vocab)[0]
  expected = [" it", " then", " no", " the"]
  found = [tokenizer.display_text(row[i]) for i in np.flatnonzero(starts)]
  assert [e.startswith(f) for f, e in zip(found, expected, strict=True)] == (
    [True] * 4
  )


@pytest.mark.parametrize(
  ("stop", "begins"), [(0, False), (1, False), (2, True)]
)
def test_a_wide_stop_needs_no_space_after_it(vocab, stop, begins):
  token = int(np.flatnonzero(vocab.is_ordinary & (vocab.stops == 0))[0])
  after = int(np.flatnonzero(vocab.is_ordinary & ~vocab.starts_word)[0])
  stops = np.zeros(vocab.size, np.int8)
  stops[token] = stop
  vocab = dataclasses.replace(vocab, stops=stops)
  row = [vocab.start_id, token, after, vocab.end_id]
  starts = sentence_starts(np.array([row], np.int32), vocab)[0]
  assert starts.tolist() == [False, True, begins, False]
