import jax.numpy as jnp
import numpy as np
import pytest

from mlm_jax.config import OptimConfig
from mlm_jax.training import optim

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


def test_weight_decay_spares_norms_and_biases():
  config = OptimConfig(weight_decay=0.1, peak_lr=1.0, warmup_steps=0)
  optimizer = optim.optimizer(config, 100)
  updates, _ = optimizer.update(zeros(), optimizer.init(PARAMS), PARAMS)
  np.testing.assert_allclose(updates["dense"]["kernel"], -0.1, rtol=1e-6)
  np.testing.assert_allclose(updates["token_embedding"], -0.1, rtol=1e-6)
  for spared in (updates["dense"]["bias"], *updates["norm"].values()):
    np.testing.assert_array_equal(spared, 0)


@pytest.mark.parametrize(
  ("clip_norm", "expected"), [(0.5, 0.5), (50.0, 20.0), (0.0, 20.0)]
)
def test_gradients_are_clipped_by_their_global_norm(clip_norm, expected):
  """Seen in Adam's first moment, which holds a tenth of the gradient."""
  optimizer = optim.optimizer(OptimConfig(clip_norm=clip_norm), 20_000)
  grads = zeros() | {"token_embedding": jnp.full([6, 4], 20 / 24**0.5)}
  _, state = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
  moment = state[1][0].mu["token_embedding"]
  np.testing.assert_allclose(jnp.linalg.norm(moment), expected / 10, rtol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("warmup_steps", [0, 10])
def test_schedules_rise_to_the_peak_and_fall_to_zero(kind, warmup_steps):
  config = OptimConfig(peak_lr=2.0, warmup_steps=warmup_steps, schedule=kind)
  schedule = optim.schedule(config, 110)
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
