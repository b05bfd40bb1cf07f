"""The model card of a run with several phases."""

import dataclasses
import json
import re

import pytest

from mlm_jax.hf import card
from mlm_jax.models.composite import MaskedLM
from mlm_jax.phases import Recipe, from_json
from mlm_jax.workdir import Workdir


@pytest.fixture
def write(make_config, tmp_path):
  """Returns a function recipe, step -> rows of the card's table, its JSON."""

  def write(recipe, step):
    text = card.write(
      recipe,
      MaskedLM(recipe.base.model, recipe.base.data.vocab_size),
      Workdir.at(tmp_path),
      None,
      "not checked",
      step=step,
      max_tokens=32,
      origin={},
    )
    rows = dict(re.findall(r"(?m)^\| (.+?) \| (.+) \|$", text))
    (values,) = re.findall(r"(?s)```json\n(.*?)```", text)
    return rows, json.loads(values)

  return write


@pytest.fixture
def recipe(make_config):
  return Recipe(
    make_config(),
    {
      "short": {"train.steps": 2_000, "data.seq_len": 16},
      "long": {
        "train.steps": 1_000,
        "data.seq_len": 32,
        "train.batch_size": 4,
        "corruption.mask_rate": 0.3,
        "optim.peak_lr": 5e-3,
      },
      "anneal": {"train.steps": 500},
    },
  )


def test_the_card_has_a_row_for_each_phase_trained(write, recipe):
  rows, values = write(recipe, 2_600)
  assert from_json(values) == recipe
  phases = {k: v for k, v in rows.items() if k.startswith("phase")}
  assert list(phases) == ["phase short", "phase long"]
  for part in ("2,000 steps", "16 tokens", "8 a step", "15%", "rate 0.01"):
    assert part in phases["phase short"]
  for part in ("600 steps", "32 tokens", "4 a step", "30%", "rate 0.005"):
    assert part in phases["phase long"]
  assert "corruption" not in rows


def test_the_card_does_not_name_the_recipe_file(write, recipe):
  _, values = write(dataclasses.replace(recipe, path="/home/me/mine.py"), 1)
  assert from_json(values) == recipe


@pytest.mark.parametrize(
  ("step", "last"), [(0, "0"), (2_000, "2,000"), (3_600, "600")]
)
def test_the_last_phase_has_the_steps_since_its_start(
  step, last, write, recipe
):
  rows, _ = write(recipe, step)
  *_, row = [row for name, row in rows.items() if name.startswith("phase")]
  assert row.startswith(f"{last} steps")


def test_a_run_of_one_phase_has_rows_without_its_name(write, make_config):
  rows, values = write(Recipe(make_config()), 50)
  assert rows["corruption"] == "token_masking, 15% of tokens"
  assert rows["rows"].startswith("32 tokens") and "adamw" in rows["optimizer"]
  assert not any(name.startswith("phase") for name in rows)
  assert values["optim"]["peak_lr"] == 0.01
