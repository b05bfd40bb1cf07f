import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlm_jax import registry
from mlm_jax.config import OptimConfig
from mlm_jax.errors import InputError
from mlm_jax.training import optimizers, schedules

PARAMS = {
  "dense": {"kernel": jnp.ones([4, 4]), "bias": jnp.ones([4])},
  "norm": {"scale": jnp.ones([4]), "bias": jnp.ones([4])},
  "token_embedding": jnp.ones([6, 4]),
}


def zeros():
  return {
    "dense": {"kernel": jnp.zeros([4, 4]), "bias": jnp.zeros([4])},
    "norm": {"scale": jnp.zeros([4]), "bias": jnp.zeros([4])},
    "token_embedding": jnp.zeros([6, 4]),
  }


def make(config, steps):
  return optimizers.Optimizer(config, schedules.learning_rate(config, steps))


def test_weight_decay_excludes_norms_and_biases():
  config = OptimConfig(weight_decay=0.1, peak_lr=1.0, warmup_steps=0)
  optimizer = make(config, 100)
  updates, _ = optimizer.update(
    zeros(), optimizer.init(PARAMS), PARAMS, place=0
  )
  np.testing.assert_allclose(updates["dense"]["kernel"], -0.1, rtol=1e-6)
  np.testing.assert_allclose(updates["token_embedding"], -0.1, rtol=1e-6)
  for spared in (updates["dense"]["bias"], *updates["norm"].values()):
    np.testing.assert_array_equal(spared, 0)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("warmup_steps", [0, 10])
def test_schedules_warm_up_to_the_peak_and_decay_to_zero(kind, warmup_steps):
  config = OptimConfig(peak_lr=2.0, warmup_steps=warmup_steps, schedule=kind)
  schedule = schedules.learning_rate(config, 110)
  rates = np.array([float(schedule(step)) for step in range(111)])
  assert rates.argmax() == warmup_steps
  assert rates[warmup_steps] == 2.0
  assert rates[110] == pytest.approx(0, abs=1e-6)
  if warmup_steps:
    assert rates[0] == 0
    np.testing.assert_allclose(np.diff(rates[:11]), 0.2, rtol=1e-5)
  falling = np.diff(rates[warmup_steps:])
  assert np.all(falling < 0)
  if kind == "linear":
    np.testing.assert_allclose(falling, falling[0], rtol=1e-3)


@pytest.mark.parametrize(
  ("schedule", "progress", "share"),
  [
    ("constant", 0.5, 1),
    ("linear", 0.25, 0.25 * 0.1 + 0.75),
    ("cosine", 0.5, 0.55),
    ("cosine", 1, 0.1),
    ("one_minus_sqrt", 0.25, 0.1 + 0.9 * 0.5),
    ("one_minus_sqrt", 1, 0.1),
  ],
)
@pytest.mark.parametrize("decay_steps", [0, 40])
def test_schedules_hold_the_peak_and_fall_to_their_floor(
  schedule, progress, share, decay_steps
):
  config = OptimConfig(
    peak_lr=2.0,
    warmup_steps=20,
    schedule=schedule,
    decay_steps=decay_steps,
    final_lr_share=0.1,
  )
  rate = schedules.learning_rate(config, 100)
  falling = decay_steps or 80
  for step in range(20, 101 - falling):
    assert float(rate(step)) == 2.0
  found = float(rate(100 - falling + progress * falling))
  assert found == pytest.approx(2.0 * share, rel=1e-5)


def test_inverse_sqrt_halves_at_four_times_the_warmup():
  config = OptimConfig(
    peak_lr=2.0, warmup_steps=10, schedule="inverse_sqrt", final_lr_share=0.2
  )
  rate = schedules.learning_rate(config, 2000)
  assert [float(rate(step)) for step in (5, 10)] == [1.0, 2.0]
  assert float(rate(40)) == pytest.approx(1.0)
  assert float(rate(1999)) == pytest.approx(0.4)


def test_a_decay_longer_than_the_phase_raises_input_error(make_config):
  keys = {"optim.warmup_steps": 20, "optim.decay_steps": 31, "train.steps": 50}
  with pytest.raises(InputError, match=r"optim.decay_steps=31"):
    make_config(**keys)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stable_adamw", "lamb", "adafactor", "muon"])
def test_optimizers_of_whole_tensors_train_alike_on_any_mesh(
  name, make_config, make_run, make_batch
):
  """Each tensor of a fused array is one, however the array is sharded."""
  params = []
  for devices, mesh in ((1, {}), (8, {"mesh.fsdp": 2, "mesh.tensor": 2})):
    config = make_config(**{"optim.name": name, "model.glu": True, **mesh})
    run = make_run(config, devices)
    state = run.init_state()
    for seed in range(3):
      batch = run.to_device(make_batch(config, seed))
      state, _ = run.train_step(state, batch)
    params.append(jax.device_get(state.params))
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), *params
  )


def test_the_rate_in_the_state_is_the_rate_that_was_applied():
  """Of gradient descent, where an update is the rate times the gradient."""
  registry.OPTIMIZERS.register("descent", lambda optim, rate: optax.sgd(rate))
  try:
    config = OptimConfig(
      name="descent", peak_lr=2.0, warmup_steps=10, clip_norm=0.0
    )
    optimizer = make(config, 110)
    state = optimizer.init(PARAMS)
    grads = jax.tree.map(jnp.ones_like, PARAMS)
    for step in (0, 3, 10, 60, 109):
      updates, state = optimizer.update(grads, state, PARAMS, place=step)
      np.testing.assert_allclose(
        updates["dense"]["kernel"], -state.learning_rate, rtol=1e-6
      )
    assert float(state.learning_rate) == pytest.approx(0.02, rel=1e-5)
  finally:
    registry.OPTIMIZERS.forget("this program")


def test_a_phase_begins_its_schedule_anew(make_config):
  config = make_config(
    **{"optim.peak_lr": 2.0, "optim.warmup_steps": 10, "train.steps": 50}
  )
  first = schedules.of_phase(config)
  later = schedules.of_phase(config, first_step=1000)
  for step in range(51):
    assert float(first(step)) == float(later(1000 + step))
