import numpy as np
import pytest

from mlm_jax.vocabulary import Vocabulary
from tests.hf.peers import SPECIALS, VOCAB


@pytest.fixture
def peer_vocab():
  """Returns a function peer -> its vocabulary."""

  def vocabulary(peer):
    pad = peer.config.pad_token_id
    return Vocabulary(size=VOCAB, pad_id=pad, **SPECIALS)

  return vocabulary


@pytest.fixture
def docs():
  """Ids of documents, one of them longer than any attention window."""
  rng = np.random.default_rng(0)
  return [
    [150, *rng.integers(5, 150, length).tolist(), 151]
    for length in (0, 7, 36, 1, 20)
  ]
