"""The span boundary objective: which borders, and that both terms learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlm_jax.config import build, default
from mlm_jax.errors import InputError
from mlm_jax.models.composite import SpanMaskedLM
from mlm_jax.objectives import mlm

SPANS = {"corruption.kind": "spans", "objective.span_boundary": True}


@pytest.fixture
def run(make_config, make_run):
  return make_run(make_config(**SPANS))


def test_span_borders_are_the_positions_around_a_span():
  batch = {
    "input_ids": jnp.zeros([1, 12], jnp.int32),
    # Places 2 to 4 and 7, in any order; 9 is no target.
    "target_positions": jnp.array([[3, 7, 2, 4, 9]]),
    "target_weights": jnp.array([[1.0, 1.0, 1.0, 1.0, 0.0]]),
  }
  left, right, place = mlm.span_borders(batch)
  assert left[0, :4].tolist() == [1, 6, 1, 1]
  assert right[0, :4].tolist() == [5, 8, 5, 5]
  assert place[0, :4].tolist() == [1, 0, 0, 2]


def test_a_token_is_predicted_from_its_borders_alone(run, make_batch, vocab):
  """Of the last vectors, those within a span have no say."""
  model = SpanMaskedLM(run.config.model, vocab.size)
  params = run.init_state().params
  # At its first value it knows no place.
  table = params["boundary"]["place"]
  params["boundary"]["place"] = table + 0.1 * jnp.arange(32)[:, None]

  def predict(vectors_BLD, borders):
    boundary = model.bind({"params": params})
    table = boundary.encoder.embeddings.token_table_VE
    at = lambda where: jnp.take_along_axis(
      vectors_BLD, where[..., None], axis=1
    )
    left, right, place = borders
    return boundary.boundary(at(left), at(right), place, table).logits_BPV

  vectors = jax.random.normal(jax.random.key(0), [1, 8, 32])
  where = lambda place: tuple(map(jnp.array, ([[1]], [[5]], [[place]])))
  first = predict(vectors, where(0))[..., : vocab.size]
  assert (
    np.abs(first - predict(vectors, where(1))[..., : vocab.size]).max() > 1e-3
  )
  inner = predict(vectors.at[:, 2:5].set(9.0), where(0))[..., : vocab.size]
  np.testing.assert_array_equal(first, inner)
  outer = predict(vectors.at[:, 5].set(9.0), where(0))[..., : vocab.size]
  assert np.abs(first - outer).max() > 1e-3


@pytest.mark.slow
def test_both_terms_are_learnt_and_the_submodel_has_one_head(
  run, make_batch, vocab
):
  state, first = run.init_state(), None
  batch = run.to_device(make_batch(run.config))
  for _ in range(run.config.train.steps):
    state, metrics = run.train_step(state, batch)
    first = first or jax.device_get(metrics)
  for term in ("mlm", "span_boundary"):
    assert float(metrics[f"{term}_loss"]) < first[f"{term}_loss"] - 1
  model, params = run.objective.submodels(state.params)["model"]
  assert set(params) == {"encoder", "head"}
  ids = jnp.array([[vocab.start_id, 9, vocab.mask_id, vocab.end_id]])
  model.apply(
    {"params": params},
    ids,
    jnp.ones_like(ids),
    jnp.arange(4)[None],
    jnp.array([[2]]),
  )


@pytest.mark.parametrize("kind", ["token_masking", "whole_words"])
def test_span_boundary_without_spans_raises(kind):
  values = default()
  values.corruption.kind = kind
  values.objective.span_boundary = True
  with pytest.raises(InputError, match=r"span_boundary needs .*'spans'"):
    build(values)
