"""An objective of one's own: a subclass of the nearest, registered by name."""

import jax.numpy as jnp
import pytest

from mlm_jax import registry
from mlm_jax.errors import InputError
from mlm_jax.objectives import require_support
from mlm_jax.objectives.base import Term
from mlm_jax.objectives.mlm import MaskedLanguageModelling, predict

NAMES = ("small_logits", "needy")


class SmallLogits(MaskedLanguageModelling):
  """Masked language modelling that keeps log Z small (the z-loss)."""

  @property
  def terms(self):
    return {**super().terms, "z": Term(1.0, "squared log Z")}

  def loss_sums(self, params, batch, key=None):
    sums = super().loss_sums(params, batch, key)
    logits = predict(self.model, self.vocab, params, batch, key).logits_BPV
    log_z_BP = jnp.log(jnp.sum(jnp.exp(logits), axis=-1))
    weights_BP = batch["target_weights"]
    loss = jnp.sum(log_z_BP**2 * weights_BP)
    return {**sums, "z": {"loss": loss, "accuracy": jnp.zeros([])}}


class Needy(MaskedLanguageModelling):
  @classmethod
  def fields(cls, config):
    return (*super().fields(config), "labels")


@pytest.fixture(autouse=True)
def registered():
  with registry.registrations_from("a recipe"):
    for name, objective in zip(NAMES, (SmallLogits, Needy), strict=True):
      registry.OBJECTIVES.register(name, objective)
  yield
  registry.OBJECTIVES.forget("a recipe")


@pytest.mark.slow
def test_a_subclass_trains_and_its_term_counts(
  make_config, make_run, make_batch
):
  config = make_config(
    **{"objective.name": "small_logits", "train.log_every": 1}
  )
  run, first = make_run(config), None
  state, batch = run.init_state(), make_batch(config)
  for _ in range(20):
    state, metrics = run.train_step(state, run.to_device(batch))
    first = first or float(metrics["z_loss"])
  assert float(metrics["z_loss"]) < first / 2
  assert float(metrics["loss"]) == pytest.approx(
    float(metrics["mlm_loss"]) + float(metrics["z_loss"]), rel=1e-5
  )
  require_support(config, "fill_mask")


def test_a_field_that_the_corruption_does_not_make_raises(make_config):
  with pytest.raises(InputError, match=r"'labels'.*'token_masking'"):
    make_config(**{"objective.name": "needy"})


def test_an_unsupported_command_raises_and_lists_the_objectives(make_config):
  config = make_config(
    **{"objective.name": "causal_lm", "corruption.kind": "next_token"}
  )
  with pytest.raises(InputError, match=r"fill_mask .*'causal_lm'.*'mlm'"):
    require_support(config, "fill_mask")
