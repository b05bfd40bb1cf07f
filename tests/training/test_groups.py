"""Frozen parameters, and learning rates of layers and groups."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from mlm_jax import registry
from mlm_jax.config import OptimConfig
from mlm_jax.errors import InputError
from mlm_jax.training import groups, optimizers
from mlm_jax.training import step as step_lib

NAMES = [
  "embeddings/token_embedding",
  "discriminator/encoder/embedding_projection/kernel",
  "discriminator/encoder/blocks_0/mlp/in/kernel",
  "discriminator/encoder/blocks_1/norm_1/scale",
  "discriminator/encoder/final_norm/scale",
  "discriminator/head/dense/kernel",
  "generator/encoder/blocks_0/mlp/in/kernel",
  "generator/encoder/blocks_1/mlp/in/kernel",
  "generator/encoder/blocks_2/mlp/in/kernel",
  "generator/head/bias",
]


def factors(names=NAMES, **keys):
  params = {name: jnp.ones([4, 2]) for name in names}
  nested = traverse_util.unflatten_dict(params, sep="/")
  found = groups.rate_factors(nested, OptimConfig(**keys))
  return traverse_util.flatten_dict(found, sep="/")


def test_layer_decay_counts_from_the_head_down():
  """Layers of each encoder for itself; embeddings are below all of them."""
  depths = [4, 4, 2, 1, 0, 0, 3, 2, 1, 0]
  assert factors(layer_decay=0.5) == {
    name: 0.5**depth for name, depth in zip(NAMES, depths, strict=True)
  }


@pytest.mark.parametrize(
  ("freeze", "frozen"),
  [
    ("*", range(10)),
    ("*,!head", [0, 1, 2, 3, 4, 6, 7, 8]),
    ("blocks_[01]", [2, 3, 6, 7]),
    ("generator/encoder/blocks_?", [6, 7, 8]),
    ("*_embedding, embedding_*", [0, 1]),
    ("mlp/*/kernel, !generator", [2]),
  ],
)
def test_patterns_name_parts_of_paths(freeze, frozen):
  found = factors(freeze=freeze)
  assert [name for name in NAMES if not found[name]] == [
    NAMES[i] for i in frozen
  ]


def test_rates_of_patterns_are_multiplied():
  found = factors(rates="generator=0.5, blocks_0=0.1", layer_decay=0.5)
  assert found["generator/encoder/blocks_0/mlp/in/kernel"] == 0.5**4 * 0.1
  assert found["discriminator/encoder/blocks_0/mlp/in/kernel"] == 0.025
  assert found["discriminator/head/dense/kernel"] == 1


@pytest.mark.parametrize(
  ("keys", "parts"),
  [
    ({"freeze": "blok_0"}, ["'blok_0'", "'blocks_0'"]),
    ({"freeze": "!head/tail"}, ["'head/tail'"]),
    ({"rates": "xyzw=2"}, ["'xyzw'"]),
    ({"freeze": "head,"}, ["optim.freeze", "head,"]),
    ({"rates": "head"}, ["optim.rates", "'head'"]),
    ({"rates": "head=0"}, ["optim.rates", "head=0"]),
    ({"rates": "head=x"}, ["optim.rates", "head=x"]),
  ],
)
def test_invalid_groups_raise_input_error(keys, parts):
  with pytest.raises(InputError) as error:
    factors(**keys)
  for part in parts:
    assert part in str(error.value)


def test_updates_are_scaled_with_their_weight_decay():
  optim = OptimConfig(
    peak_lr=1.0, weight_decay=0.1, clip_norm=0.0, rates="dense=0.25"
  )
  params = {"dense": {"kernel": jnp.ones([2])}, "other": jnp.ones([2])}
  optimizer = optimizers.Optimizer(optim, optax.constant_schedule(1.0))
  grads = jax.tree.map(jnp.zeros_like, params)
  updates, _ = optimizer.update(grads, optimizer.init(params), params, place=0)
  np.testing.assert_allclose(updates["dense"]["kernel"], -0.025, rtol=1e-6)
  np.testing.assert_allclose(updates["other"], -0.1, rtol=1e-6)


@pytest.mark.parametrize("name", [*registry.OPTIMIZERS])
def test_what_is_frozen_stays_bit_for_bit(
  name, make_config, make_run, make_batch
):
  """Whatever the optimizer; and its gradient is left out of the norm."""
  if name == "schedule_free_adamw":
    with pytest.raises(InputError, match=r"optim\.freeze.*schedule_free"):
      OptimConfig(name=name, freeze="*")
    return
  keys = {"optim.name": name, "optim.peak_lr": 0.1, "optim.warmup_steps": 0}
  config = make_config(**keys)
  optim = dataclasses.replace(
    config.optim, freeze="*, !head, !token_embedding", first_trained_row=7
  )
  run = make_run(dataclasses.replace(config, optim=optim))
  batch, state = make_batch(config), run.init_state()
  before = jax.device_get(state.params)
  after, metrics = run.train_step(state, run.to_device(batch))
  moved = jax.tree.map(lambda a, b: np.any(a != b), before, after.params)
  moved = traverse_util.flatten_dict(jax.device_get(moved), sep="/")
  trained = {name for name in moved if moved[name]}
  assert trained == {
    name for name in moved if name.startswith("head") or "token_emb" in name
  }
  table = before["encoder"]["token_embedding"]
  changed = np.any(table != after.params["encoder"]["token_embedding"], axis=1)
  assert not changed[:7].any() and changed[7:].any()
  grads, _ = step_lib.gradient(
    run.init_state(), batch, config=config, objective=run.objective
  )
  grads = traverse_util.flatten_dict(grads, sep="/")
  grads["encoder/token_embedding"] = grads["encoder/token_embedding"][7:]
  expected = optax.global_norm({name: grads[name] for name in trained})
  np.testing.assert_allclose(metrics["grad_norm"], expected, rtol=1e-5)
  num_frozen = sum(x.size for x in jax.tree.leaves(before)) - sum(
    grads[name].size for name in trained
  )
  assert groups.num_frozen(before, optim) == num_frozen
