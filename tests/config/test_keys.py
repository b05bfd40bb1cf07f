"""What a key declares can be read by a program, and is what is checked."""

import dataclasses
import math
import typing
from typing import Literal

import pytest

from mlm_jax import config as config_lib
from mlm_jax import registry
from mlm_jax.config.key import Key
from mlm_jax.errors import InputError

KEYS = config_lib.keys()


@pytest.mark.parametrize("name", KEYS)
def test_each_key_has_a_doc_string_a_scope_and_a_valid_default(name):
  key = KEYS[name]
  assert key.doc.endswith(".") and key.doc[0] != key.doc[0].lower()
  assert len(key.summary) <= 72
  group = name.rpartition(".")[0]
  values = config_lib.groups()[group]() if group else config_lib.Config()
  assert key.scope_in(values) in config_lib.SCOPES
  key.check(name, key.default)
  if key.type is float:
    assert key.range
    with pytest.raises(InputError):
      key.check(name, math.nan)


def test_every_scope_is_that_of_a_key():
  config = config_lib.Config()
  scopes = {
    key.scope_in(getattr(config, name.rpartition(".")[0], config))
    for name, key in KEYS.items()
  }
  assert scopes == set(config_lib.SCOPES)


def test_every_float_and_int_has_a_range():
  for name, key in KEYS.items():
    assert (key.type in (int, float)) == bool(key.range), name


@pytest.mark.parametrize(
  ("bound", "valid", "invalid"),
  [("above", 3, 2), ("at_least", 2, 1), ("below", 1, 2), ("at_most", 2, 3)],
)
def test_a_range_is_checked_as_declared(bound, valid, invalid):
  key = Key(int, valid, "A number.", "data", **{bound: 2})
  key.check("group.key", valid)
  with pytest.raises(InputError) as error:
    key.check("group.key", invalid)
  for part in ("group.key", key.range, f"not {invalid}"):
    assert part in str(error.value)


def test_an_unknown_choice_suggests_the_closest():
  table = registry.Table("group.key", {"linear": "a:b", "cosine": "a:c"})
  for declared in (
    Key(Literal["linear", "cosine"], "linear", "A word.", "data"),
    Key(str, "linear", "A word.", "data", choices=table),
  ):
    with pytest.raises(InputError, match=r"group\.key 'cosin'.*'cosine'"):
      declared.check("group.key", "cosin")
    with pytest.raises(InputError, match="must be str"):
      declared.check("group.key", 3)


@pytest.mark.parametrize(
  ("old", "new"),
  [
    ("denoising", "bart"),
    ("fragment", "mass"),
    ("conditional_masking", "cmlm"),
    ("uniform_masking", "uniform_mask_rate"),
  ],
)
def test_a_renamed_choice_is_answered_with_its_new_name(old, new):
  with pytest.raises(InputError, match=f"{old}.*{new}"):
    config_lib.CorruptionConfig(kind=old)


def test_a_registered_name_is_a_valid_value():
  with pytest.raises(InputError, match=r"optim\.schedule 'triangle'"):
    config_lib.OptimConfig(schedule="triangle")
  with registry.registrations_from("recipe.py"):
    registry.SCHEDULES.register("triangle", lambda peak, steps: None)
  assert "triangle" in KEYS["optim.schedule"].values
  assert config_lib.OptimConfig(schedule="triangle").schedule == "triangle"
  registry.SCHEDULES.forget("recipe.py")
  assert "triangle" not in KEYS["optim.schedule"].values


@pytest.mark.parametrize(
  ("name", "table"),
  [
    ("objective.name", registry.OBJECTIVES),
    ("optim.name", registry.OPTIMIZERS),
    ("optim.schedule", registry.SCHEDULES),
  ],
)
def test_the_choices_are_those_of_the_registry(name, table):
  assert KEYS[name].values == tuple(table)
  assert table.key == name


def test_a_value_is_an_int_where_a_float_is_declared():
  KEYS["optim.peak_lr"].check("optim.peak_lr", 1)
  for name, value in (("train.steps", True), ("data.lowercase", 1)):
    with pytest.raises(InputError, match=name):
      KEYS[name].check(name, value)


def test_types_are_those_that_a_recipe_can_override():
  for name, kind in config_lib.key_types().items():
    is_word = set(map(type, typing.get_args(kind))) == {str}
    assert kind in (int, float, bool, str) or is_word, name


def test_importing_the_configuration_instantiates_no_group():
  groups = config_lib.groups()
  for field in dataclasses.fields(config_lib.Config):
    if field.name in groups:
      assert field.default_factory is groups[field.name]
