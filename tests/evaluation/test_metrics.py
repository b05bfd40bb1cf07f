"""Metrics of one's own, of all held-out predictions together."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from mlm_jax import registry
from mlm_jax.config import TrainConfig
from mlm_jax.data import prepare
from mlm_jax.errors import InputError
from mlm_jax.evaluation import heldout
from mlm_jax.evaluation.metrics import Collector
from mlm_jax.objectives.mlm import predict
from mlm_jax.training.restoring import restore
from mlm_jax.workdir import Workdir


class Accuracy:
  """The accuracy once more, of predictions that are collected."""

  def collect(self, objective, params, batch):
    logits = predict(objective.model, objective.vocab, params, batch)
    predicted_BP = jnp.argmax(logits.logits_BPV, axis=-1)
    is_correct_BP = predicted_BP == batch["target_ids"]
    return {"correct": is_correct_BP, "weights": batch["target_weights"]}

  def compute(self, arrays):
    assert isinstance(arrays["correct"], np.ndarray)
    return np.average(arrays["correct"], weights=arrays["weights"])


@pytest.fixture
def metric():
  with registry.registrations_from("a recipe"):
    registry.METRICS.register("collected_accuracy", Accuracy)
  yield "collected_accuracy"
  registry.METRICS.forget("a recipe")


@pytest.mark.slow
def test_a_metric_sees_all_heldout_predictions(metric, trained):
  run, params, *_ = restore(Workdir.at(trained))
  # All of them: padding fills up the last batch.
  train = dataclasses.replace(
    run.config.train, metrics=metric, eval_batches=0, batch_size=16
  )
  config = dataclasses.replace(run.config, train=train)
  run = dataclasses.replace(run, config=config)
  _, stores = prepare.load(config, Workdir.at(trained))
  assert stores.sources[""].info["heldout"].num_rows % 16
  values = heldout.evaluator(run, stores)(params)["heldout"]
  assert values["accuracy"] > 0
  assert values[metric] == pytest.approx(values["accuracy"], rel=1e-5)


@pytest.mark.parametrize("name", ["loss", "mlm_accuracy"])
def test_a_metric_of_a_reserved_name_raises_input_error(name, trained):
  run, *_ = restore(Workdir.at(trained))
  registry.METRICS.register(name, Accuracy)
  try:
    train = dataclasses.replace(run.config.train, metrics=name)
    config = dataclasses.replace(run.config, train=train)
    with pytest.raises(InputError, match=rf"train\.metrics='{name}'"):
      Collector(dataclasses.replace(run, config=config))
  finally:
    registry.METRICS.forget("this program")


def test_an_unknown_metric_raises(metric):
  assert TrainConfig(metrics=f" {metric},").metric_names == [metric]
  with pytest.raises(
    InputError, match=r"train\.metrics .*'collected_accuracy'"
  ):
    TrainConfig(metrics="collected_acuracy")
