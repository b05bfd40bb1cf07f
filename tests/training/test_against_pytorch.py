"""Training beside Hugging Face's models in PyTorch, loss by loss.

From the same weights and batches, whole trainers differ by rounding alone: by
1e-6 within 80 steps. A bar of 5e-6 notices every fault of a list that a bar of
2% would let pass.
"""

import dataclasses
import pathlib
import sys

import jax.numpy as jnp
import numpy as np
import optimi
import pytest
import torch

from mlm_jax import config as config_lib
from mlm_jax import families, phases, recipes
from mlm_jax.objectives import bind, rtd
from mlm_jax.training import adafactor

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "bench"))
import torch_trainer
from torch_trainer import Ours

pytestmark = pytest.mark.slow

STEPS, BAR = 80, 5e-6


def make_base(corpus, family):
  values = config_lib.default()
  values.model.update(family)
  values.model.update(families.NO_DROPOUT)
  values.model.update(width=64, num_heads=4, mlp_width=128, num_layers=2)
  if values.model.window:
    values.model.update(num_layers=3, window=16, global_every=2)
  values.data.update(corpus=f"text:{corpus}", vocab_size=600, seq_len=32)
  values.data.heldout_fraction = 0.1
  values.optim.update(peak_lr=1e-3, warmup_steps=16, weight_decay=0.1)
  values.train.update(steps=STEPS, batch_size=8, log_every=1)
  return config_lib.build(values)


@pytest.fixture(scope="module")
def bert(corpus, tmp_path_factory):
  base = make_base(corpus, families.BERT)
  return Ours(phases.Recipe(base), tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def modernbert(corpus, tmp_path_factory):
  base = make_base(corpus, families.MODERNBERT)
  return Ours(phases.Recipe(base), tmp_path_factory.mktemp("modernbert"))


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_losses_equal_those_in_pytorch(name, request):
  ours = request.getfixturevalue(name)
  # It learns, so that there is something to differ in.
  assert ours.losses[-1] < ours.losses[0] - 0.5
  assert any(
    (b["input_ids"] == ours.vocab.start_id).sum() > 8 for b in ours.batches
  ), "rows are packed"
  assert ours.difference() < BAR


@pytest.mark.parametrize("fault", torch_trainer.FAULTS)
def test_a_wrong_trainer_is_noticed(fault, bert):
  assert bert.difference(fault=fault) > 2 * BAR


@pytest.mark.parametrize(
  "fault", [f for f in torch_trainer.FAULTS if f != "row_positions"]
)
def test_a_wrong_trainer_of_modernbert_is_noticed(fault, modernbert):
  """Rotary embeddings know distances alone, so positions may be a row's."""
  assert modernbert.difference(fault=fault) > 2 * BAR


def test_phases_equal_those_in_pytorch(corpus, tmp_path):
  """Another length, batch size, rate and mask rate; the moments go on."""
  second = {
    "train.steps": 30,
    "train.batch_size": 4,
    "data.seq_len": 64,
    "corruption.mask_rate": 0.3,
    "optim.peak_lr": 5e-4,
    "optim.warmup_steps": 5,
    "optim.clip_norm": 0.5,
  }
  diffs = {"first": {"train.steps": 40}, "second": second}
  recipe = phases.Recipe(make_base(corpus, families.BERT), diffs)
  assert Ours(recipe, tmp_path).difference() < BAR


def stable_adamw(config, groups):
  optim = config.optim
  return optimi.StableAdamW(
    groups,
    lr=optim.peak_lr,
    betas=(optim.b1, optim.b2),
    eps=optim.eps,
    foreach=False,
    triton=False,
  )


def lion(config, groups):
  betas = config.optim.b1, config.optim.b2
  return optimi.Lion(
    groups, lr=config.optim.peak_lr, betas=betas, foreach=False, triton=False
  )


def torch_adafactor(config, groups):
  # The paper's epsilon_1, of squares, is 1e-30.
  return torch.optim.Adafactor(
    groups, lr=config.optim.peak_lr, eps=(1e-15, 1e-3)
  )


class Lamb(torch.optim.Optimizer):
  """Algorithm 2 of You et al. 2020; norms and biases are not adapted."""

  def step(self):
    for group in self.param_groups:
      (param,), (b1, b2) = group["params"], group["betas"]
      state, grad = self.state[param], param.grad
      count = state["count"] = state.get("count", 0) + 1
      mean = state["mean"] = b1 * state.get("mean", 0) + (1 - b1) * grad
      square = b2 * state.get("square", 0) + (1 - b2) * grad**2
      state["square"] = square
      update = mean / (1 - b1**count)
      update /= (square / (1 - b2**count)).sqrt() + group["eps"]
      ratio = 1.0
      if group["weight_decay"]:
        update += group["weight_decay"] * param.data
        ratio = param.data.norm() / update.norm()
      param.data -= group["lr"] * ratio * update


def lamb(config, groups):
  optim = config.optim
  keys = {"lr": optim.peak_lr, "betas": (optim.b1, optim.b2), "eps": optim.eps}
  return Lamb(groups, keys)


@pytest.mark.parametrize(
  ("make", "keys"),
  [
    (lamb, {"optim.name": "lamb", "optim.peak_lr": 0.02}),
    (stable_adamw, {"optim.name": "stable_adamw", "optim.clip_norm": 0.0}),
    (lion, {"optim.name": "lion", "optim.peak_lr": 3e-4}),
    (torch_adafactor, {"optim.name": "adafactor", "optim.peak_lr": 0.02}),
  ],
)
def test_optimizers_of_whole_models_equal_those_in_pytorch(
  make, keys, corpus, tmp_path, monkeypatch
):
  monkeypatch.setattr(adafactor, "_LEAST_FACTORED", 1)
  # Statistics of a whole table count its padding, which theirs lacks.
  keys = {"data.vocab_size": 640, **keys}
  recipe = phases.Recipe(make_base(corpus, families.BERT))
  ours = Ours(recipes.override(recipe, keys), tmp_path)
  assert ours.losses[-1] < ours.losses[0] - 0.2
  assert ours.difference(make) < BAR
  assert ours.difference() > 2 * BAR


def test_t5s_losses_equal_those_in_pytorch(corpus, tmp_path, monkeypatch):
  """By Adafactor, whose rate is relative to the weights.

  Their queries are not divided by the root of the head's width, their weights
  are: to Adam, these are other weights.
  """
  monkeypatch.setattr(adafactor, "_LEAST_FACTORED", 1)
  base = make_base(corpus, families.T5)
  keys = {
    "model.num_decoder_layers": 2,
    "objective.name": "seq2seq",
    "corruption.kind": "span_corruption",
    "data.num_sentinels": 20,
    "data.packing": "single",
    "data.vocab_size": 640,
    "optim.name": "adafactor",
    "optim.peak_lr": 0.01,
    "optim.clip_norm": 0.0,
  }
  ours = Ours(recipes.override(phases.Recipe(base), keys), tmp_path)
  assert ours.losses[-1] < ours.losses[0] - 0.5
  trainer = torch_trainer.T5Trainer
  assert ours.difference(torch_adafactor, trainer=trainer) < 2 * BAR


def test_both_losses_of_electra_equal_those_in_pytorch(
  corpus, tmp_path, monkeypatch
):
  """With a generator that draws what no logits decide; a third is right."""

  def replace(ids):
    return np.where(ids % 3, (7 * ids + 11) % 500 + 50, ids)

  def sample(keys_B, logits_BPV, vocab):
    return drawn.pop()

  def loss_sums(self, params, batch, key=None):
    ids_BP = batch["target_ids"]
    drawn.append(jnp.where(ids_BP % 3, (7 * ids_BP + 11) % 500 + 50, ids_BP))
    return original(self, params, batch, key)

  drawn, original = [], rtd.ReplacedTokenDetection.loss_sums
  monkeypatch.setattr(rtd, "sample", sample)
  monkeypatch.setattr(rtd.ReplacedTokenDetection, "loss_sums", loss_sums)
  base = make_base(corpus, families.BERT)
  keys = {
    "objective.name": "rtd",
    "objective.generator_share": 0.5,
    "model.embedding_width": 32,
    "optim.peak_lr": 5e-4,
  }
  ours = Ours(recipes.override(phases.Recipe(base), keys), tmp_path)
  objective = bind(ours.recipe.base, ours.vocab)
  given = {"objective": objective, "replace": replace}
  trainer = torch_trainer.ElectraTrainer
  assert ours.losses[-1] < ours.losses[0] - 2
  assert ours.difference(trainer=trainer, **given) < 2 * BAR
  # Had the discriminator another weight, or other labels, it would be seen.
  given["replace"] = lambda ids: ids
  assert ours.difference(trainer=trainer, **given) > 0.1


def test_microbatches_add_up_to_the_same_training(bert, corpus, tmp_path):
  train = dataclasses.replace(bert.recipe.base.train, microbatches=4)
  base = dataclasses.replace(bert.recipe.base, train=train)
  ours = Ours(phases.Recipe(base), tmp_path)
  np.testing.assert_allclose(ours.losses, bert.losses, rtol=BAR)
  assert ours.difference() < BAR
