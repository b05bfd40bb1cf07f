"""The table of axis roles, held to the parameters of every model."""

import dataclasses
import pathlib
import re
import tokenize

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from mlm_jax import models
from mlm_jax.config import EncoderConfig
from mlm_jax.models import axes
from mlm_jax.models.composite import (
  ConditionalMaskedLM,
  Electra,
  MaskedLM,
  PairMaskedLM,
  SpanMaskedLM,
  init_params,
)

# All sizes differ, so that no axis can be taken for another.
CONFIG = EncoderConfig(
  num_layers=2,
  width=48,
  num_heads=6,
  num_kv_heads=2,
  mlp_width=40,
  embedding_width=16,
  max_positions=20,
  glu=True,
  tie_embeddings=False,
)
RELATIVE = dataclasses.replace(
  CONFIG, position_kind="relative", glu=False, norm_placement="pre"
)
DECODER = dataclasses.replace(CONFIG, embedding_width=0, num_decoder_layers=1)
GENERATOR = dataclasses.replace(CONFIG, width=24, num_heads=3, num_kv_heads=1)

MODELS = {
  "mlm": MaskedLM(CONFIG, 300),
  "relative": MaskedLM(RELATIVE, 300),
  "span_boundary": SpanMaskedLM(CONFIG, 300),
  "pair": PairMaskedLM(CONFIG, 300),
  "electra": Electra(CONFIG, GENERATOR, 300),
  "cmlm": ConditionalMaskedLM(DECODER, 300),
}


@pytest.mark.parametrize("name", MODELS)
def test_table_has_the_axes_of_every_parameter(name):
  model = MODELS[name]
  boxed = jax.eval_shape(lambda: init_params(model, jax.random.key(0)))
  for path, box in flatten_dict(boxed, sep="/").items():
    config = GENERATOR if path.startswith("generator/") else model.config
    letters = axes.axes_of(path, box.value.ndim)
    for letter, size in zip(letters, box.value.shape, strict=True):
      if letter == "V":
        assert size == 384, path
      elif letter not in "Z.U":
        assert size == axes.axis_sizes(config)[letter], path
    if path.endswith("/kernel"):
      # Layers are built from the same notation as the table.
      assert box.names == axes.logical_axes(letters), path
      assert 0 < axes.num_inputs(path) < len(letters), path
    else:
      assert axes.num_inputs(path) == 0, path


@pytest.mark.parametrize(
  ("path", "shape", "sizes"),
  [
    ("encoder/blocks_0/attention/qkv/kernel", (48, 2, 5, 8), [3, 1, 1]),
    ("encoder/blocks_0/attention/qkv/bias", (2, 5, 8), [3, 1, 1]),
    ("decoder/blocks_0/cross/kv/kernel", (48, 2, 2, 8), [1, 1]),
    ("encoder/blocks_0/mlp/in/kernel", (48, 2, 40), [1, 1]),
    ("encoder/blocks_0/mlp/in/bias", (2, 40), [1, 1]),
  ],
)
def test_fused_tensors_are_split(path, shape, sizes):
  array = np.arange(np.prod(shape)).reshape(shape)
  tensors = axes.split(path, array)
  axis = next(i for i, t in enumerate(tensors[0].shape) if t != shape[i])
  assert [tensor.shape[axis] for tensor in tensors] == sizes
  np.testing.assert_array_equal(np.concatenate(tensors, axis), array)


def test_other_parameters_are_not_split():
  for path, shape in (
    ("encoder/blocks_0/mlp/in/kernel", (48, 40)),
    ("encoder/blocks_0/mlp/out/kernel", (40, 48)),
    ("encoder/blocks_0/norm_1/scale", (48,)),
    ("encoder/token_embedding", (384, 16)),
  ):
    (tensor,) = axes.split(path, np.zeros(shape))
    assert tensor.shape == shape


def test_unknown_parameter_names_the_table():
  with pytest.raises(ValueError, match=r"axes\.py lacks .*blocks_0/router"):
    axes.axes_of("encoder/blocks_0/router/kernel", 2)


def test_legend_has_every_letter_of_shape_suffixes():
  legend = set(re.findall(r"(?:^|  )([A-Z])  ", models.__doc__, re.MULTILINE))
  package = pathlib.Path(models.__file__).parents[1]
  paths = [
    path
    for folder in ("models", "objectives")
    for path in (package / folder).rglob("*.py")
  ]
  used = set()
  for path in paths:
    with tokenize.open(path) as file:
      for token in tokenize.generate_tokens(file.readline):
        suffix = re.fullmatch(r"[a-z]\w*_([A-Z0-9]+)", token.string)
        if token.type == tokenize.NAME and suffix:
          used |= {x for x in suffix[1] if x.isalpha()}
  assert used <= legend
