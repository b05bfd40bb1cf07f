"""The Python API: its functions, and what they raise."""

import inspect

import pytest

import mlm_jax
from mlm_jax import api
from mlm_jax.errors import InputError
from mlm_jax.workdir import Workdir


def test_the_package_exports_every_function_of_the_api():
  functions = [
    name
    for name, function in inspect.getmembers(api, inspect.isfunction)
    if function.__module__ == api.__name__ and not name.startswith("_")
  ]
  assert sorted(mlm_jax.__all__) == sorted(functions)


CAUSAL = {"objective.name": "causal_lm", "corruption.kind": "next_token"}


@pytest.mark.parametrize(
  ("name", "values", "supported"),
  [
    ("fill_mask", CAUSAL, "'mlm'"),
    ("mask_predict", {}, "'cmlm'; fill_mask"),
  ],
)
def test_an_unsupported_objective_raises_input_error(
  name, values, supported, make_config, make_run, tmp_path
):
  config = make_config(**values)
  message = f"{name} .*{config.objective.name!r}.*{supported}"
  model = api.TrainedModel(make_run(config), None, None, 0, 0)
  with pytest.raises(InputError, match=message):
    getattr(mlm_jax, name)(model, "a [MASK]")
  # A work directory without weights.
  workdir = Workdir.at(tmp_path)
  workdir.save_config(config)
  with pytest.raises(InputError, match=message):
    mlm_jax.restore(workdir.root, use=name)


def test_an_unknown_use_suggests_the_closest(make_config, tmp_path):
  Workdir.at(tmp_path).save_config(make_config())
  with pytest.raises(InputError, match=r"use 'fill_masks'.*'fill_mask'"):
    mlm_jax.restore(tmp_path, use="fill_masks")
