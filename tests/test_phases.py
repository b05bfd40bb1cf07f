"""Recipes of several phases: each a difference to the one before."""

import json
import os

import pytest

from mlm_jax import config as config_lib
from mlm_jax import phases, recipes, registry
from mlm_jax.cli.overrides import parse
from mlm_jax.errors import InputError
from mlm_jax.workdir import Workdir

BASE = config_lib.Config()


def test_a_recipe_without_phases_is_one():
  (phase,) = phases.Recipe(BASE).phases
  assert (phase.config, phase.first_step) == (BASE, 0)
  assert phase.last_step == BASE.train.steps


def test_a_phase_differs_from_the_one_before():
  recipe = phases.Recipe(
    BASE,
    {
      "stable": {"train.steps": 100_000, "corruption.mask_rate": 0.3},
      "decay": {"train.steps": 20_000, "optim.peak_lr": 5e-5},
    },
  )
  stable, decay = recipe.phases
  assert (stable.first_step, stable.last_step) == (0, 100_000)
  assert (decay.first_step, decay.last_step) == (100_000, 120_000)
  assert stable.config.optim.peak_lr == BASE.optim.peak_lr
  assert decay.config.corruption.mask_rate == 0.3
  assert decay.config.optim.peak_lr == 5e-5
  assert recipe.last_step == 120_000


@pytest.mark.parametrize(
  ("step", "name"), [(0, "a"), (5, "a"), (6, "b"), (9, "b"), (99, "b")]
)
def test_a_checkpoint_belongs_to_the_phase_that_ends_with_it(step, name):
  diffs = {"a": {"train.steps": 5}, "b": {"train.steps": 4}}
  diffs["a"]["optim.warmup_steps"] = 1
  assert phases.Recipe(BASE, diffs).phase_at(step).name == name


def test_a_recipe_comes_back_from_json():
  recipe = phases.Recipe(
    BASE, {"a": {"train.steps": 20_000}, "b": {"train.steps": 30_000}}
  )
  text = json.dumps(recipe.to_json())
  assert phases.from_json(json.loads(text)) == recipe
  assert phases.from_json(json.loads(text)).phases == recipe.phases


@pytest.mark.parametrize(
  ("diffs", "parts"),
  [
    ({"a": {"optim.peak_lr": 1.0}}, ["'a'", "train.steps"]),
    (
      {"a": {"train.steps": 20_000, "optim.peek_lr": 1.0}},
      ["'a'", "optim.peek_lr", "optim.peak_lr"],
    ),
    (
      {"a": {"train.steps": 20_000, "optim.peak_lr": -1.0}},
      ["'a'", "optim.peak_lr", "-1.0"],
    ),
    ({"a": {"train.steps": 10}}, ["'a'", "optim.warmup_steps", "train.steps"]),
    ({"Phase 1": {"train.steps": 20_000}}, ["'Phase 1'"]),
    (
      {"a": {"train.steps": 20_000}}
      | {"b": {"train.steps": 20_000, "model.width": 384}},
      ["'b'", "model.width", "768", "384"],
    ),
  ],
)
def test_invalid_phases_raise_input_error(diffs, parts):
  with pytest.raises(InputError) as error:
    phases.Recipe(BASE, diffs)
  for part in parts:
    assert part in str(error.value)
  assert "\n" not in str(error.value)


@pytest.fixture
def recipe_file(tmp_path):
  path = tmp_path / "two.py"
  path.write_text("""
from mlm_jax import config as config_lib


def get_config():
  return config_lib.default()


def get_phases():
  return {
    "stable": {"train.steps": 50_000},
    "decay": {"train.steps": 20_000, "optim.peak_lr": 1e-5},
  }
""")
  return str(path)


def test_an_override_is_of_the_base_or_of_one_phase(recipe_file):
  recipe = recipes.load(
    recipe_file,
    parse(
      [
        "--config.corruption.mask_rate=0.2",
        "--config.phases.decay.train.steps=30000",
        "--config.phases.decay.optim.weight_decay=0.1",
      ]
    ),
  )
  stable, decay = (phase.config for phase in recipe.phases)
  assert stable.corruption.mask_rate == decay.corruption.mask_rate == 0.2
  assert (stable.train.steps, decay.train.steps) == (50_000, 30_000)
  assert (stable.optim.weight_decay, decay.optim.weight_decay) == (0.01, 0.1)
  assert recipe.path == os.path.realpath(recipe_file)


@pytest.mark.parametrize(
  ("override", "parts"),
  [
    ("train.steps=9", ["train.steps", "phases.stable.train.steps"]),
    ("phases.decoy.train.steps=9", ["'decoy'", "'decay'"]),
    ("phases.decay.train.stps=9", ["train.stps", "train.steps"]),
    ("phases.decay.train.steps=x", ["train.steps", "'x'", "whole number"]),
  ],
)
def test_invalid_overrides_raise_input_error(recipe_file, override, parts):
  with pytest.raises(InputError) as error:
    recipes.load(recipe_file, parse([f"--config.{override}"]))
  for part in parts:
    assert part in str(error.value)


def test_heldout_documents_do_not_grow_between_phases():
  with pytest.raises(InputError, match=r"'b'.*data\.heldout_fraction"):
    phases.Recipe(
      BASE,
      {
        "a": {"train.steps": 20_000},
        "b": {"train.steps": 20_000, "data.heldout_fraction": 0.1},
      },
    )


def test_a_recipe_file_with_an_old_kind_is_read():
  values = phases.Recipe(BASE).to_json()
  values["corruption"]["kind"] = "uniform_masking"
  kind = phases.from_json(values).base.corruption.kind
  assert kind == "uniform_mask_rate"


def test_a_base_with_phases_needs_phases_of_the_recipe(recipe_file, tmp_path):
  path = tmp_path / "based.py"
  text = f"""
from mlm_jax import recipes


def get_config():
  return recipes.base({recipe_file!r})
"""
  path.write_text(text)
  with pytest.raises(InputError, match=r"get_phases\(\).*base_phases"):
    recipes.load(str(path))
  text += f"""

def get_phases():
  return recipes.base_phases({recipe_file!r})
"""
  path.write_text(text)
  assert recipes.load(str(path)).diffs == recipes.load(recipe_file).diffs


def test_a_variant_that_get_phases_does_not_take_raises_input_error(tmp_path):
  path = tmp_path / "variant.py"
  path.write_text("""
from mlm_jax import recipes


def get_config(variant=""):
  return recipes.base("bert_base", variant)


def get_phases():
  return {"a": {"train.steps": 9}}
""")
  with pytest.raises(InputError, match=r"get_phases\(\).*'tiny'"):
    recipes.load(f"{path}:tiny")


def test_two_recipes_may_register_one_name(tmp_path):
  """Each work directory reads its own; both at once are refused."""
  text = """
from mlm_jax import config as config_lib, registry


@registry.SCHEDULES.register("flat")
def flat(optim, steps):
  return lambda step: {rate}


def get_config():
  config = config_lib.default()
  config.optim.schedule = "flat"
  return config
"""
  for name in "ab":
    (tmp_path / f"{name}.py").write_text(text.format(rate=ord(name)))
  workdir = Workdir.at(tmp_path / "work")
  try:
    workdir.save_recipe(recipes.load(str(tmp_path / "a.py")))
    registry.SCHEDULES.forget(str(tmp_path / "a.py"))
    recipes.load(str(tmp_path / "b.py"))
    with pytest.raises(InputError, match=r"flat.*b\.py"):
      workdir.load_recipe()
  finally:
    for name in "ab":
      registry.SCHEDULES.forget(str(tmp_path / f"{name}.py"))
