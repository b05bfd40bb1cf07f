"""Which tokens influence which outputs of the encoder, tested by gradients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlm_jax.models.composite import MaskedLM
from mlm_jax.models.positions import segments_and_positions

KINDS = [
  {"model.norm_placement": placement, "model.position_kind": kind}
  for placement in ("post", "pre")
  for kind in ("learned", "rope")
]


def build(config, vocab):
  model = MaskedLM(config.model, vocab.size)
  ids = jnp.zeros([1, 8], jnp.int32)
  params = model.init(jax.random.key(1), ids, ids, ids, ids)["params"]
  # Larger than at initialization, so that differences show.
  return model, jax.tree.map(lambda x: x * 3, nn.unbox(params))


def logits(model, params, vocab, ids, targets):
  segments, positions = segments_and_positions(ids, vocab)
  out = model.apply({"params": params}, ids, segments, positions, targets)
  return out.logits_BPV


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_leakage_across_packed_documents(kind, make_config, vocab):
  config = make_config(**kind)
  model, params = build(config, vocab)
  s, e, p = vocab.start_id, vocab.end_id, vocab.pad_id
  ids = jnp.array([[s, 10, 11, 12, e, s, 20, 21, 22, 23, e, p]])
  segments, positions = segments_and_positions(ids, vocab)

  def prediction(vectors_BLD):
    """Returns a logit at position 2, given the embedding of each position."""
    table = params["encoder"]["token_embedding"]
    # Each position has a table row of its own, so that gradients are separate.
    rows = jnp.concatenate([vectors_BLD[0], table])[: table.shape[0]]
    changed = {
      **params,
      "encoder": {**params["encoder"], "token_embedding": rows},
    }
    places = jnp.arange(ids.shape[1])[None]
    out = model.apply(
      {"params": changed}, places, segments, positions, jnp.array([[2]])
    )
    return out.logits_BPV[0, 0, 200]

  vectors = params["encoder"]["token_embedding"][ids]
  influence = jnp.abs(jax.grad(prediction)(vectors)).sum(-1)[0]
  own = segments[0] == 1
  # Position 200 does not exist, so the predicted token's row is no input.
  assert np.all(influence[own] > 0)
  assert np.all(influence[~own] == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_document_has_equal_logits_alone_and_packed(kind, make_config, vocab):
  model, params = build(make_config(**kind), vocab)
  s, e, p = vocab.start_id, vocab.end_id, vocab.pad_id
  first, second = [s, 10, 11, 12, e], [s, 20, 21, 22, 23, e]
  packed = jnp.array([[*first, *second, p]])
  alone = jnp.array([[*second, *[p] * 6]])
  a = logits(model, params, vocab, packed, jnp.array([[6, 7, 8]]))
  b = logits(model, params, vocab, alone, jnp.array([[1, 2, 3]]))
  np.testing.assert_allclose(
    a[..., : vocab.size], b[..., : vocab.size], atol=1e-4
  )


@pytest.mark.parametrize("kind", KINDS)
def test_token_order_within_a_document_matters(kind, make_config, vocab):
  model, params = build(make_config(**kind), vocab)
  ids = jnp.array([[vocab.start_id, 10, 11, 12, 13, vocab.end_id]])
  swapped = ids.at[0, 3].set(13).at[0, 4].set(12)
  target = jnp.array([[1]])
  a = logits(model, params, vocab, ids, target)[..., : vocab.size]
  b = logits(model, params, vocab, swapped, target)[..., : vocab.size]
  assert np.abs(a - b).max() > 1e-3


def test_rope_depends_on_distances_only(make_config, vocab):
  config = make_config(**{"model.position_kind": "rope"})
  model, params = build(config, vocab)
  ids = jnp.array([[vocab.start_id, 10, 11, 12, 13, vocab.end_id]])
  ids = jnp.pad(ids, ((0, 0), (0, 9)), constant_values=vocab.pad_id)
  segments = (ids != vocab.pad_id).astype(jnp.int32)
  positions = jnp.pad(jnp.arange(6)[None], ((0, 0), (0, 9)))
  target = jnp.array([[2]])
  here = model.apply({"params": params}, ids, segments, positions, target)
  there = model.apply({"params": params}, ids, segments, positions + 9, target)
  np.testing.assert_allclose(
    here.logits_BPV[..., : vocab.size],
    there.logits_BPV[..., : vocab.size],
    atol=1e-4,
  )


def test_vocabulary_padding_is_never_predicted(make_config, vocab):
  model, params = build(make_config(), vocab)
  ids = jnp.array([[vocab.start_id, 10, 11, vocab.end_id]])
  out = logits(model, params, vocab, ids, jnp.array([[1, 2]]))
  assert out.shape == (1, 2, 384) and out.dtype == jnp.float32
  assert np.all(np.isneginf(out[..., vocab.size :]))
  assert np.all(np.isfinite(out[..., : vocab.size]))


def test_bfloat16_logits_are_close_to_float32(make_config, vocab):
  full = make_config(**{"model.dtype": "float32"})
  half = make_config(**{"model.dtype": "bfloat16"})
  model, params = build(full, vocab)
  ids = jnp.array([[vocab.start_id, 10, 11, 12, vocab.end_id]])
  target = jnp.array([[1, 2]])
  a = logits(model, params, vocab, ids, target)
  b = logits(MaskedLM(half.model, vocab.size), params, vocab, ids, target)
  assert b.dtype == jnp.float32
  a, b = a[..., : vocab.size], b[..., : vocab.size]
  assert 0 < np.abs(a - b).max() < 0.05 * np.abs(a).max()
