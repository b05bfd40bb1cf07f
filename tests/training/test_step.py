"""The step: what the gradient is of, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

MIXES = [(8, 1, 1), (1, 8, 1), (1, 1, 4), (2, 2, 2), (1, 4, 2)]


def train(run, batches):
  state, metrics = run.init_state(), None
  for batch in batches:
    state, metrics = run.train_step(state, run.to_device(batch))
  return jax.device_get((state, metrics))


def assert_close(a, b, **tolerance):
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


@pytest.fixture(scope="module", params=["post", "pre"])
def one_device(request, make_config, make_run, make_batch):
  """A configuration, batches, and what one device makes of them."""
  overrides = {"model.norm_placement": request.param, "train.batch_size": 16}
  config = make_config(**overrides)
  batches = [make_batch(config, seed) for seed in range(3)]
  return overrides, batches, train(make_run(config, 1), batches)


@pytest.mark.slow
@pytest.mark.parametrize("mix", MIXES)
def test_any_mesh_trains_as_one_device_does(
  mix, one_device, make_config, make_run
):
  overrides, batches, (one, metrics_one) = one_device
  mesh = dict(zip(("mesh.data", "mesh.fsdp", "mesh.tensor"), mix, strict=True))
  sharded = make_config(**overrides, **mesh)
  many, metrics_many = train(make_run(sharded, int(np.prod(mix))), batches)
  assert_close(metrics_one, metrics_many, rtol=2e-4)
  assert_close(one.params, many.params, atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
  "objective",
  [
    {"objective.name": "rtd", "objective.generator_share": 0.5},
    {"corruption.kind": "spans", "objective.span_boundary": True},
  ],
)
def test_any_mesh_has_the_same_loss_terms(
  objective, make_config, make_run, make_batch
):
  overrides = {"train.batch_size": 16, **objective}
  config = make_config(**overrides)
  mesh = {"mesh.data": 2, "mesh.fsdp": 2, "mesh.tensor": 2}
  batches = [make_batch(config, seed) for seed in range(3)]
  one, metrics_one = train(make_run(config, 1), batches)
  sharded = make_run(make_config(**overrides, **mesh), 8)
  many, metrics_many = train(sharded, batches)
  assert len(one.metric_sums) == 2
  assert_close(metrics_one, metrics_many, rtol=2e-4)
  assert_close(one.params, many.params, atol=2e-4)


def test_state_is_initialised_sharded(make_config, make_run):
  run = make_run(make_config(**{"mesh.fsdp": 4, "mesh.tensor": 2}), 8)
  state = run.init_state()
  for tree in (state.params, state.opt_state):
    matrices = [x for x in jax.tree.leaves(tree) if x.size >= 1024]
    assert len(matrices) >= 10
    # The table of positions is split over its width alone.
    assert all(
      x.addressable_shards[0].data.size <= x.size / 4 for x in matrices
    )
  table = state.params["encoder"]["token_embedding"]
  assert table.addressable_shards[0].data.size == table.size / 8


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 8])
def test_gradient_accumulation_equals_the_full_batch(
  devices, make_config, make_run, make_batch
):
  """Although micro-batches have unequal numbers of targets."""
  whole = make_config(**{"train.batch_size": 32})
  parts = make_config(**{"train.batch_size": 32, "train.microbatches": 4})
  batches = [make_batch(whole, seed) for seed in range(2)]
  a, metrics_a = train(make_run(whole, devices), batches)
  b, metrics_b = train(make_run(parts, devices), batches)
  assert_close(metrics_a, metrics_b, rtol=2e-4)
  assert_close(a.params, b.params, atol=2e-4)


def test_the_loss_is_the_mean_over_all_targets(
  make_config, make_run, make_batch
):
  config = make_config()
  run, batch = make_run(config), make_batch(config)
  params = run.init_state().params
  total = run.eval_step(params, run.to_device(batch))["mlm"]
  rows = [
    {k: np.broadcast_to(v[i : i + 1], v.shape) for k, v in batch.items()}
    for i in range(config.train.batch_size)
  ]
  each = [run.eval_step(params, run.to_device(row))["mlm"] for row in rows]
  for key in ("loss", "weight"):
    parts = sum(float(e[key]) for e in each) / config.train.batch_size
    np.testing.assert_allclose(total[key], parts, rtol=1e-5)
  assert len({float(e["weight"]) for e in each}) > 1
  _, metrics = run.train_step(run.init_state(), run.to_device(batch))
  np.testing.assert_allclose(
    metrics["loss"], total["loss"] / total["weight"], rtol=1e-5
  )


def test_empty_target_slots_have_no_gradient(make_config, make_run, make_batch):
  config = make_config()
  run, batch = make_run(config), make_batch(config)
  other = dict(batch)
  empty = batch["target_weights"] == 0
  assert empty.any()
  other["target_ids"] = np.where(empty, 250, batch["target_ids"])
  other["target_positions"] = np.where(empty, 1, batch["target_positions"])
  a, _ = train(run, [batch])
  b, _ = train(run, [other])
  assert_close(a.params, b.params, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["post", "pre"])
def test_training_memorises_one_batch(kind, make_config, make_run, make_batch):
  config = make_config(
    **{"model.norm_placement": kind, "train.steps": 300, "optim.peak_lr": 5e-3}
  )
  run = make_run(config)
  # Rows that differ by what is not masked, so that they can be told apart.
  state, metrics = train(run, [make_batch(config)] * 300)
  batch = run.to_device(make_batch(config))
  sums = run.eval_step(state.params, batch)["mlm"]
  assert float(sums["loss"] / sums["weight"]) < 0.05
  assert float(sums["accuracy"] / sums["weight"]) > 0.99
  assert float(metrics["loss"]) < 1


def test_dropout_is_a_function_of_seed_and_step(
  make_config, make_run, make_batch
):
  config = make_config(**{"model.mlp_dropout": 0.3})
  batch = make_batch(config)
  a, _ = train(make_run(config), [batch] * 2)
  b, _ = train(make_run(config), [batch] * 2)
  assert_close(a.params, b.params, rtol=0, atol=0)
  other, _ = train(make_run(make_config()), [batch] * 2)
  table = lambda s: s.params["encoder"]["token_embedding"]
  assert np.abs(table(a) - table(other)).max() > 1e-4


def test_metrics_are_means_since_the_last_logged_step(
  make_config, make_run, make_batch
):
  config = make_config(**{"train.log_every": 3})
  run = make_run(config)
  batches = [make_batch(config, seed) for seed in range(5)]
  state, losses, weights, logged = run.init_state(), [], [], []
  for batch in batches:
    sums = run.eval_step(state.params, run.to_device(batch))["mlm"]
    losses.append(float(sums["loss"]))
    weights.append(float(sums["weight"]))
    state, metrics = run.train_step(state, run.to_device(batch))
    logged.append(float(metrics["loss"]))
  np.testing.assert_allclose(
    logged[2], sum(losses[:3]) / sum(weights[:3]), rtol=1e-5
  )
  np.testing.assert_allclose(
    logged[4], sum(losses[3:]) / sum(weights[3:]), rtol=1e-5
  )


def test_tokens_seen_counts_past_32_bits(
  make_config, make_run, make_batch, vocab
):
  config = make_config()
  run, batch = make_run(config), make_batch(config)
  state = run.init_state()
  near = jnp.array([3, 2**32 - 5], jnp.uint32)
  state, metrics = run.train_step(
    state.replace(tokens_seen=near), run.to_device(batch)
  )
  high, low = (int(n) for n in metrics["tokens_seen"])
  real = int((batch["input_ids"] != vocab.pad_id).sum())
  assert high * 2**32 + low == 3 * 2**32 + 2**32 - 5 + real


def test_weights_and_dropout_have_seeds_of_their_own(
  make_config, make_run, make_batch
):
  keys = {"model.mlp_dropout": 0.5, "optim.warmup_steps": 0}

  def run(**seeds):
    config = make_config(**keys, **seeds)
    run = make_run(config)
    before = jax.device_get(run.init_state().params)
    state, _ = train(run, [make_batch(config)])
    return before, state.params

  def differ(a, b):
    return any(
      np.any(x != y)
      for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )

  first, trained = run()
  same_weights, other_dropout = run(dropout_seed=1)
  assert not differ(first, same_weights) and differ(trained, other_dropout)
  other_weights, _ = run(weights_seed=1)
  assert differ(first, other_weights)
  again, trained_again = run(seed=9, weights_seed=0, dropout_seed=0)
  assert not differ(first, again) and not differ(trained, trained_again)
