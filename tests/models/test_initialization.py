"""Initial weights have the distributions of the reference implementations."""

import dataclasses
import math

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import traverse_util

from mlm_jax import recipes
from mlm_jax.models import axes
from mlm_jax.models.composite import init_params
from mlm_jax.objectives import bind
from mlm_jax.vocabulary import Vocabulary

# The standard deviation of a normal distribution that is cut at two of it.
CUT = 0.879626

# By recipe: standard deviation of matrices and tables, and the largest number,
# in numbers of it. Google's BERT, ALBERT and ELECTRA cut a normal distribution
# of 0.02, and so do ModernBERT and what is based on it. fairseq, transformers
# and MosaicML do not. NeoBERT is uniform between -0.02 and 0.02.
TRUNCATED = 0.02 * CUT, 2 / CUT
NORMAL = 0.02, 6.0
UNIFORM = 0.02 / math.sqrt(3), math.sqrt(3)
REFERENCES = {
  "albert": TRUNCATED,
  "bert": TRUNCATED,
  "causal": TRUNCATED,
  "electra": TRUNCATED,
  "ettin": TRUNCATED,
  "mmbert": TRUNCATED,
  "modernbert": TRUNCATED,
  "prefix": TRUNCATED,
  "academic": NORMAL,
  "bart": NORMAL,
  "cmlm": NORMAL,
  "crammed": NORMAL,
  "distilbert": NORMAL,
  "eurobert": NORMAL,
  "mass": NORMAL,
  "mosaicbert": NORMAL,
  "nomic": NORMAL,
  "roberta": NORMAL,
  "spanbert": NORMAL,
  "xlm": NORMAL,
  "neobert": UNIFORM,
}
LAYERS = 6


def initial(name):
  """Returns the weights of a recipe's model, made small."""
  config = recipes.load(name).phases[0].config
  sizes = {"num_layers": LAYERS, "width": 256, "num_heads": 4, "mlp_width": 320}
  if config.model.num_kv_heads:
    sizes["num_kv_heads"] = 2
  if config.model.num_decoder_layers:
    sizes["num_decoder_layers"] = 2
  if config.model.embedding_width:
    sizes["embedding_width"] = 128
  model = dataclasses.replace(config.model, **sizes)
  vocab = Vocabulary(1024, 0, 1, 2, 3, 4)
  model = bind(dataclasses.replace(config, model=model), vocab).model
  params = jax.jit(lambda: nn.unbox(init_params(model, jax.random.key(0))))()
  return traverse_util.flatten_dict(jax.device_get(params), sep="/")


def check(path, array, std, most):
  # Of n numbers, a standard deviation is off by 1 / sqrt(2 n).
  tolerance = 5 / math.sqrt(2 * array.size)
  assert array.std() == pytest.approx(std, rel=tolerance), path
  assert abs(array.mean()) < 5 * std / math.sqrt(array.size), path
  assert abs(array).max() <= most * std * (1 + 1e-5), path


def is_constant(path, array):
  """Checks norms and biases; returns whether it is one."""
  leaf = path.rpartition("/")[2]
  if leaf in ("bias", "scale"):
    np.testing.assert_array_equal(array, leaf == "scale", err_msg=path)
  return leaf in ("bias", "scale")


@pytest.mark.slow
@pytest.mark.parametrize(
  "name",
  # The last two are our own.
  [n for n in recipes.shipped() if not n.startswith(("t5", "quick", "speed"))],
)
def test_weights_are_distributed_as_in_the_reference(name):
  std, most = REFERENCES[name.partition("_")[0]]
  is_scaled = name.startswith(("modernbert", "ettin", "mmbert"))
  for path, array in initial(name).items():
    if is_constant(path, array):
      continue
    of_residual = path.endswith(("attention/out/kernel", "mlp/out/kernel"))
    scale = 1 / math.sqrt(2 * LAYERS) if is_scaled and of_residual else 1.0
    check(path, array, std * scale, most)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t5_small", "t5_base"])
def test_t5s_weights_depend_on_their_inputs(name):
  """As in transformers, whose queries are divided by sqrt(64) before."""
  for path, array in initial(name).items():
    if is_constant(path, array):
      continue
    if path.endswith("relative_bias"):
      std = 256**-0.5
    elif path.endswith("token_embedding"):
      std = 1.0
    else:
      inputs = axes.num_inputs(path)
      std = math.prod(array.shape[:inputs]) ** -0.5
    check(path, array, std, 6.0)
