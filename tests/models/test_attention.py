import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlm_jax.errors import InputError
from mlm_jax.models.attention import attention


def qkv(batch, length, heads, width, seed=0):
  keys = jax.random.split(jax.random.key(seed), 3)
  shape = (batch, length, heads, width)
  return [jax.random.normal(key, shape) for key in keys]


def by_hand(q, k, v, segments):
  """The definition, with loops."""
  out = np.zeros_like(q)
  batch, length, heads, width = q.shape
  for b in range(batch):
    for i in range(length):
      together = segments[b] == segments[b, i]
      for h in range(heads):
        scores = k[b, together, h] @ q[b, i, h] / np.sqrt(width)
        weights = np.exp(scores - scores.max())
        out[b, i, h] = weights @ v[b, together, h] / weights.sum()
  return out


@pytest.mark.parametrize(
  "segments",
  [
    [1] * 12,
    [1] * 5 + [2] + [3] * 6,  # a document of one token
    [1] * 7 + [0] * 5,  # padding
    [0] * 12,  # an empty row
  ],
)
@pytest.mark.parametrize("impl", ["auto", "dense"])
def test_equals_the_definition(segments, impl):
  q, k, v = qkv(2, 12, 3, 8)
  segments = jnp.array([segments, [1] * 12])
  out = attention(q, k, v, segment_ids_BL=segments, impl=impl)
  expected = by_hand(*(np.asarray(x) for x in (q, k, v, segments)))
  np.testing.assert_allclose(out, expected, atol=1e-5)


def test_an_unknown_backend_names_the_nearest():
  q, k, v = qkv(1, 4, 1, 4)
  with pytest.raises(InputError, match="did you mean 'dense'"):
    attention(q, k, v, segment_ids_BL=jnp.ones([1, 4]), impl="dens")
