"""A recipe file brings kinds of its own, and needs no change of the package.

Each example registers one kind in at most 30 lines, trains 20 steps with it,
and resumes after 10 as if it had never stopped.
"""

import json
import pathlib

import numpy as np
import pytest

import mlm_jax
from mlm_jax.cli.main import main
from mlm_jax.errors import InputError
from mlm_jax.training.hooks import Hook
from mlm_jax.workdir import Workdir
from tests.conftest import records

CORRUPTION = '''
"""Masks only tokens of even ids."""

import numpy as np

from mlm_jax import registry
from mlm_jax.data.corruption.primitives.masks import sample_tokens
from mlm_jax.data.corruption.mask_filling import MaskFilling


@registry.CORRUPTIONS.register("even_tokens")
class EvenTokens(MaskFilling):
  max_mask_rate = 0.5

  def sample(self, rows_BL, rate, vocab, random):
    maskable_BL = np.take(vocab.is_ordinary, rows_BL)
    count_B1 = self.num_masked(maskable_BL, rate)
    maskable_BL &= rows_BL % 2 == 0
    slots = self.num_hidden(rows_BL.shape[1])
    return sample_tokens(maskable_BL, count_B1, slots, random)


def change(config):
  config.corruption.kind = "even_tokens"
'''

OBJECTIVE = '''
"""Masked language modelling with a penalty on the logits' log-partition."""

import jax
import jax.numpy as jnp

from mlm_jax import registry
from mlm_jax.objectives.base import Term
from mlm_jax.objectives.mlm import MaskedLanguageModelling, predict


@registry.OBJECTIVES.register("z_loss")
class ZLoss(MaskedLanguageModelling):
  title = "masked language modelling with z-loss"
  terms = {"mlm": Term(1.0, "masked tokens"), "z": Term(1e-4, "z-loss")}

  def loss_sums(self, params, batch, key=None):
    sums = super().loss_sums(params, batch, key)
    logits = predict(self.model, self.vocab, params, batch, key).logits_BPV
    log_z_BP = jax.nn.logsumexp(logits, axis=-1)
    z = jnp.sum(batch["target_weights"] * log_z_BP**2)
    return sums | {"z": {"loss": z, "accuracy": jnp.zeros([])}}


def change(config):
  config.objective.name = "z_loss"
'''

OPTIMIZER = '''
"""Gradient descent with momentum."""

import optax

from mlm_jax import registry


@registry.OPTIMIZERS.register("momentum")
def momentum(optim, learning_rate):
  return optax.sgd(learning_rate, momentum=optim.b1)


def change(config):
  config.optim.name = "momentum"
'''

SCHEDULE = '''
"""Constant after the warm-up."""

import optax

from mlm_jax import registry


@registry.SCHEDULES.register("flat")
def flat(optim, steps):
  return optax.constant_schedule(optim.peak_lr)


def change(config):
  config.optim.schedule = "flat"
'''

CORPUS_FORMAT = '''
"""A file with one document a line."""

from mlm_jax import registry


@registry.CORPUS_FORMATS.register("lines")
def read(spec, data):
  with open(spec) as file:
    yield from filter(str.strip, file)


def change(config):
  config.data.corpus = config.data.corpus.replace("text:", "lines:")
'''

METRIC = '''
"""Whether any of a row's targets is predicted right."""

import jax.numpy as jnp

from mlm_jax import registry
from mlm_jax.objectives.mlm import predict


@registry.METRICS.register("any_right")
class AnyRight:
  def collect(self, objective, params, batch):
    model, params = objective.submodels(params)["model"]
    logits = predict(model, objective.vocab, params, batch).logits_BPV
    is_right_BP = jnp.argmax(logits, axis=-1) == batch["target_ids"]
    is_target_BP = batch["target_weights"] > 0
    return {
      "is_right": jnp.any(is_right_BP & is_target_BP, axis=1),
      "is_row": jnp.any(is_target_BP, axis=1),
    }

  def compute(self, collected):
    return collected["is_right"].sum() / collected["is_row"].sum()


def change(config):
  config.train.metrics = "any_right"
'''

EXAMPLES = {
  "corruption": CORRUPTION,
  "objective": OBJECTIVE,
  "optimizer": OPTIMIZER,
  "schedule": SCHEDULE,
  "corpus_format": CORPUS_FORMAT,
  "metric": METRIC,
}

RECIPE = """

def get_config():
  import runpy
  config = runpy.run_path("{recipe}")["get_config"]()
  config.train.update(steps=20, log_every=5, eval_every=10, checkpoint_every=20)
  config.train.eval_batches = 1
  change(config)
  return config
"""


class StopAt10(Hook):
  def is_due(self, moment):
    return moment.step == 10

  def run(self, moment):
    moment.stop = True


@pytest.mark.slow
@pytest.mark.parametrize("kind", EXAMPLES)
def test_an_own_kind_trains_and_resumes(kind, recipe, forget, tmp_path):
  example = EXAMPLES[kind]
  assert len(example.strip().splitlines()) <= 30
  path = tmp_path / f"own_{kind}.py"
  path.write_text(example + RECIPE.format(recipe=recipe))
  whole, stopped = tmp_path / "whole", tmp_path / "stopped"
  assert mlm_jax.pretrain(str(path), whole)
  assert not mlm_jax.pretrain(str(path), stopped, hooks=[StopAt10()])
  forget()
  # Another process: the work directory knows where the recipe is.
  assert main(["train", f"--workdir={stopped}"]) == 0
  assert records(stopped) == records(whole)
  found = records(whole)
  assert [r["step"] for r in found if r["split"] == "train"] == [5, 10, 15, 20]
  assert all(np.isfinite(r["loss"]) for r in found)
  rates = [r["learning_rate"] for r in found if r["split"] == "train"]
  assert (rates[-1] == rates[-2]) == (kind == "schedule")
  last = found[-1]
  assert ("z_loss" in last) == (kind == "objective")
  assert ("any_right" in last) == (kind == "metric")
  forget()
  assert main(["evaluate", f"--workdir={stopped}"]) == 0


def test_a_work_directory_without_its_recipe_says_what_is_missing(
  recipe, forget, tmp_path, capsys
):
  path = tmp_path / "own.py"
  path.write_text(SCHEDULE + RECIPE.format(recipe=recipe))
  workdir = Workdir.at(tmp_path / "workdir")
  workdir.save_recipe(mlm_jax.load_recipe(str(path)))
  forget()
  path.unlink()
  assert main(["show_config", f"--workdir={workdir.root}"]) == 2
  error = capsys.readouterr().err
  assert "optim.schedule" in error and str(path) in error


@pytest.mark.parametrize(
  ("name", "owner"), [("cosine", "mlm_jax"), ("flat", "own.py")]
)
def test_a_name_that_is_taken_raises_input_error(name, owner, forget, tmp_path):
  path = tmp_path / "own.py"
  twice = SCHEDULE.partition("def change")[0].replace("flat(", "second(")
  twice = twice.replace('"flat"', f'"{name}"')
  path.write_text(SCHEDULE + twice + "def get_config(): pass\n")
  with pytest.raises(InputError) as error:
    mlm_jax.load_recipe(str(path))
  assert name in str(error.value) and owner in str(error.value)


def test_a_recipe_may_be_read_again(recipe, forget, tmp_path):
  path = tmp_path / "own.py"
  path.write_text(SCHEDULE + RECIPE.format(recipe=recipe))
  first, second = (mlm_jax.load_recipe(str(path)) for _ in range(2))
  assert first == second
  text = json.dumps(first.to_json())
  assert pathlib.Path(json.loads(text)["recipe"]) == path
