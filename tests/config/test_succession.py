"""Which keys may change once weights exist follows from their scopes."""

import copy
import dataclasses

import jax
import pytest

from mlm_jax import config as config_lib
from mlm_jax.config import Config, may_follow
from mlm_jax.errors import InputError
from mlm_jax.phases import Recipe
from mlm_jax.workdir import Workdir

# Those of tables have tests of their own.
KEYS = {n: key for n, key in config_lib.keys().items() if ".NAME." not in n}

# Every key of before the scopes that a work directory refused to change.
FIXED = {
  "weights_seed",
  "objective.generator_share",
  "objective.span_boundary",
  "corruption.sentence_pairs",
  "optim.name",
  "data.tokenizer",
  "data.vocab_size",
  "data.lowercase",
  "data.num_sentinels",
  "data.byte_fallback",
  "data.special_tokens",
  "data.user_symbols",
  "data.split_digits",
  "data.normalization",
  "data.keep_whitespace",
}
# What may change between phases only.
STATE = {"optim.name", "optim.ema_decay", "train.reset_optimizer"}
# And all of the model's but these.
FREE = {
  "model.embedding_dropout",
  "model.attention_dropout",
  "model.mlp_dropout",
  "model.dtype",
  "model.attention",
  "model.remat",
  "model.scan_layers",
}
FUNCTION = {
  "objective.name",
  "model.activation",
  "model.norm_eps",
  "model.rope_theta",
  "model.relative_distance",
  "model.window",
  "model.global_every",
  "model.local_rope_theta",
  "model.scale_logits",
}


def other_value(key):
  """Returns another value of the key's type."""
  if key.values:
    return next(value for value in (*key.values, "x") if value != key.default)
  other = {str: "x", int: 1, float: 0.5}
  return key.default + other[key.type]


def with_value(config, name, value):
  """Returns the configuration with a value, whether it is valid or not."""
  config = copy.copy(config)
  group, _, field = name.rpartition(".")
  owner = copy.copy(getattr(config, group)) if group else config
  object.__setattr__(owner, field, value)
  if group:
    object.__setattr__(config, group, owner)
  return config


def scope_of(config, name):
  group = name.rpartition(".")[0]
  return KEYS[name].scope_in(getattr(config, group) if group else config)


@pytest.mark.parametrize("boundary", ["restart", "phase"])
@pytest.mark.parametrize("name", KEYS)
def test_a_key_may_change_where_its_scope_says(name, boundary):
  old = Config()
  value = other_value(KEYS[name])
  new = with_value(old, name, value)
  may_follow(old, old, boundary)
  scopes = {scope_of(old, name), scope_of(new, name)}
  fixed = bool(scopes & {"weights", "initialisation"})
  if boundary == "restart":
    fixed = fixed or bool(scopes & {"function", "state"})
  if name == "optim.name":
    fixed = True  # Between phases, it takes train.reset_optimizer.
  if not fixed:
    may_follow(old, new, boundary)
    return
  with pytest.raises(InputError) as error:
    may_follow(old, new, boundary)
  message = str(error.value)
  for part in (name, repr(KEYS[name].default), repr(value)):
    assert part in message
  assert ("--workdir" in message) == (boundary == "restart")
  assert "\n" not in message


@pytest.mark.parametrize("name", KEYS)
def test_what_a_work_directory_refuses_to_change_stays_as_it_was(name):
  is_model = name.startswith("model.")
  fixed = name in FIXED or (is_model and name not in FREE)
  when = config_lib.when(scope_of(Config(), name))
  fixed = fixed or name in STATE | FUNCTION
  assert (when != "at any restart") == fixed


def test_the_function_of_the_same_weights_may_change_between_phases():
  found = {name for name in KEYS if scope_of(Config(), name) == "function"}
  assert found == FUNCTION


def test_more_positions_are_another_function_where_they_have_no_table():
  def config(**values):
    model = config_lib.EncoderConfig(**values)
    return dataclasses.replace(Config(), model=model)

  for kind in ("rope", "alibi", "relative"):
    old = config(position_kind=kind)
    new = config(position_kind=kind, max_positions=1024)
    may_follow(old, new, "phase")
    with pytest.raises(InputError, match=r"model\.max_positions"):
      may_follow(old, new, "restart")
  for boundary in ("restart", "phase"):
    with pytest.raises(InputError, match=r"model\.max_positions.*512.*1024"):
      may_follow(config(), config(max_positions=1024), boundary)


def test_only_keys_of_scope_weights_shape_weights(make_config):
  from mlm_jax.models.composite import MaskedLM, init_params

  def shapes(model):
    init = lambda: init_params(MaskedLM(model, 300), jax.random.key(0))
    return jax.tree.map(lambda x: (x.shape, x.dtype), jax.eval_shape(init))

  rotary = make_config(**{"model.position_kind": "rope"})
  relative = make_config(**{"model.position_kind": "relative"})
  before = {c.model: shapes(c.model) for c in (rotary, relative)}
  for name, key in KEYS.items():
    config = relative if name == "model.relative_distance" else rotary
    if name.startswith("model.") and scope_of(config, name) != "weights":
      changes = {name.partition(".")[2]: other_value(key)}
      if name in ("model.window", "model.global_every"):
        changes = {"window": 4, "global_every": 2}
      model = dataclasses.replace(config.model, **changes)
      assert shapes(model) == before[config.model], name


def test_what_was_sized_to_devices_is_reset_and_nothing_else(make_config):
  config = make_config(
    **{
      "mesh.data": 2,
      "mesh.fsdp": 4,
      "train.microbatches": 2,
      "model.remat": "full",
    }
  )
  reset = config_lib.for_other_devices(config)
  assert set(config_lib.changed(config, reset)) == {
    "mesh.data",
    "mesh.fsdp",
    "train.microbatches",
  }
  assert reset.mesh == config_lib.MeshConfig()
  assert reset.train.microbatches == 1


def test_growing_takes_depth_and_widths():
  assert config_lib.GROWN == (
    "num_layers",
    "width",
    "num_heads",
    "num_kv_heads",
    "mlp_width",
    "embedding_width",
  )


def test_a_work_directory_names_itself_and_what_changed(tmp_path, make_config):
  workdir = Workdir.at(tmp_path)
  check = lambda **keys: workdir.check(Recipe(make_config(**keys)))
  check()
  workdir.save_config(make_config())
  check(**{"train.steps": 60, "mesh.fsdp": 2})
  with pytest.raises(InputError) as error:
    check(**{"model.width": 64})
  for part in (str(tmp_path), "model.width", "32", "64", "--workdir"):
    assert part in str(error.value)
