"""Dropout, rematerialization and scanned layers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlm_jax.models.dropout import Dropout
from mlm_jax.models.encoder import Encoder


def drop(x, rate, seed=0, deterministic=False):
  rngs = {"dropout": jax.random.key(seed)}
  return Dropout(rate).apply({}, x, deterministic, rngs=rngs)


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 0.9])
def test_dropout_zeroes_its_share_and_keeps_the_mean(rate):
  x = jnp.ones([64, 128, 96])
  out = np.asarray(drop(x, rate))
  deviation = np.sqrt(rate * (1 - rate) / x.size)
  assert abs((out == 0).mean() - rate) < 5 * deviation
  np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=1e-6)


def test_dropout_is_independent_across_axes_seeds_and_rows():
  kept = np.asarray(drop(jnp.ones([64, 128, 96]), 0.5)) != 0
  signs = 2.0 * kept - 1
  bound = 5 / np.sqrt(signs.size)
  for axis in range(3):  # Neighbours along each axis.
    ahead = np.moveaxis(signs, axis, 0)
    assert abs((ahead[1:] * ahead[:-1]).mean()) < bound
  other = 2.0 * (np.asarray(drop(jnp.ones(signs.shape), 0.5, seed=1)) != 0) - 1
  assert abs((signs * other).mean()) < bound
  # The shares of rows have the standard deviation of coin flips.
  rows = kept.mean(axis=(1, 2))
  assert 0.7 < rows.std() / np.sqrt(0.25 / (128 * 96)) < 1.4


def test_dropout_of_a_row_is_the_same_in_any_batch():
  x = jnp.ones([8, 16, 12])
  np.testing.assert_array_equal(drop(x, 0.3)[:3], drop(x[:3], 0.3))


@pytest.mark.parametrize(("rate", "deterministic"), [(0.0, False), (0.5, True)])
def test_no_dropout_compiles_to_nothing(rate, deterministic):
  x = jnp.ones([2, 3, 4])
  jaxpr = jax.make_jaxpr(lambda x: drop(x, rate, deterministic=deterministic))(
    x
  )
  assert not [e for e in jaxpr.eqns if "random" not in e.primitive.name]


CHANGES = [
  {"model.remat": "dots"},
  {"model.scan_layers": True},
  {"model.scan_layers": True, "model.remat": "full"},
]
SHAPES = [
  {"model.num_layers": 3},
  {"model.num_layers": 3, "model.share_layers": True},
  # The first layer lacks a norm, and half a period is left at the end.
  {
    "model.num_layers": 7,
    "model.norm_placement": "pre",
    "model.window": 8,
    "model.global_every": 2,
  },
]


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_remat_and_scan_layers_change_no_gradient(
  shape, make_config, make_run, make_batch
):
  def gradients(**overrides):
    config = make_config(**shape, **overrides)
    run = make_run(config)
    params, batch = run.init_state().params, make_batch(config)
    loss_sums = run.objective.loss_sums
    loss = lambda params: loss_sums(params, batch)["mlm"]["loss"]
    return jax.jit(jax.value_and_grad(loss))(params)

  expected = gradients()
  for change in CHANGES:
    found = gradients(**change)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_scanned_layers_have_independent_dropout(make_config, make_run):
  # Blocks that add only dropout of a constant, so that sums show their masks.
  config = make_config(
    **{
      "model.num_layers": 6,
      "model.scan_layers": True,
      "model.mlp_dropout": 0.5,
      "model.norm_placement": "pre",
    }
  )
  run = make_run(config)
  params = nn.unbox(run.init_state().params)
  zero = lambda path, x: (
    jnp.ones_like(x)
    if jax.tree_util.keystr(path, simple=True).endswith("mlpoutbias")
    else jnp.zeros_like(x)
  )
  params = jax.tree_util.tree_map_with_path(zero, params)
  params["encoder"]["final_norm"]["scale"] += 1.0
  encoder = Encoder(config.model, 300)
  ids = jnp.ones([2, 32], jnp.int32)
  segments, positions = jnp.ones_like(ids), jnp.zeros_like(ids)
  _, state = encoder.apply(
    {"params": params["encoder"]},
    ids,
    segments,
    positions,
    deterministic=False,
    rngs={"dropout": jax.random.key(0)},
    capture_intermediates=lambda module, _: module.name == "final_norm",
  )
  sums = np.asarray(state["intermediates"]["final_norm"]["__call__"][0])
  # Six equal masks would leave two values in a row, six different ones seven.
  assert len(np.unique(sums[0, 0].round(3))) > 3


@pytest.mark.slow
def test_remat_recomputes_more_the_less_it_saves(
  make_config, make_run, make_batch
):
  def flops(remat):
    config = make_config(**{"model.remat": remat})
    _, compiled = make_run(config).compile_train_step(make_batch(config))
    return compiled.cost_analysis()["flops"]

  none, dots, full = map(flops, ("none", "dots", "full"))
  assert none < dots < full
