"""Reference runs are of recipes as they are, and their losses are said."""

import pytest

from mlm_jax import config as config_lib
from mlm_jax import recipes, references
from mlm_jax.phases import Recipe


@pytest.fixture
def recorded(monkeypatch):
  points = [[0, 8.3], [250_000, 5.0], [500_000, 4.5], [1_000_000, 4.3]]
  monkeypatch.setattr(references, "_runs", lambda: {"bert_base:tiny": points})


def test_the_expected_losses_of_a_recipe_are_said(recorded):
  said = references.describe(recipes.load("bert_base:tiny"))
  assert said == (
    "Expected held-out loss: 4.8 to 5.2 at 0.2M tokens, 4.3 to 4.7 at 0.5M "
    "tokens, 4.1 to 4.5 at 1.0M tokens"
  )


@pytest.mark.parametrize(
  ("key", "value", "is_said"),
  [
    ("train.log_every", 7, True),
    ("data.rows_dir", "elsewhere", True),
    ("mesh.fsdp", 2, True),
    ("optim.peak_lr", 1e-5, False),
    ("data.corpus", "text:mine.txt", False),
    ("seed", 1, True),
    ("model.num_layers", 3, False),
  ],
)
def test_a_recipe_that_learns_otherwise_expects_nothing(
  recorded, key, value, is_said
):
  recipe = recipes.load("bert_base:tiny", {key: value})
  assert bool(references.describe(recipe)) == is_said


def test_recorded_runs_are_of_recipes_as_they_are():
  names = [*references._runs()]
  assert len(names) >= 8 and "quickstart" in names
  for name in names:
    points = references._runs()[name]
    assert references.describe(recipes.load(name))
    # Two learn slowly, all learn.
    assert points[-1][1] < points[0][1] - 1
    tokens = [count for count, _ in points]
    assert tokens == sorted(tokens)


def test_a_recipe_of_phases_expects_nothing(recorded):
  base = recipes.load("bert_base:tiny").base
  diffs = {"a": {"train.steps": 500}, "b": {"train.steps": 500}}
  assert not references.describe(Recipe(base, diffs))
  assert not references.describe(Recipe(config_lib.Config()))
