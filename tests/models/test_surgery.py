"""Added tokens, longer positions and growth keep what a model computes."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from mlm_jax import families
from mlm_jax.errors import InputError
from mlm_jax.models.composite import MaskedLM
from mlm_jax.models.encoder import ATTENTION_NORM
from mlm_jax.models.surgery import add_tokens, extend_positions, grow

SIZE = 300

FAMILIES = {
  "bert": families.BERT,
  "modernbert": families.MODERNBERT | {"window": 4, "num_layers": 4},
  "albert": families.ALBERT | {"embedding_width": 16},
  "eurobert": families.EUROBERT | {"num_kv_heads": 2},
  "tied_without_dense": {"norm_placement": "pre", "head_dense": "none"},
  "relative": {"position_kind": "relative"},
}
EVERY_FAMILY = pytest.mark.parametrize("family", FAMILIES)


def shapes(config, size=SIZE):
  ids = jnp.zeros([1, 8], jnp.int32)
  init = lambda: MaskedLM(config, size).init(jax.random.key(0), *[ids] * 4)
  return nn.unbox(jax.eval_shape(init))["params"]


@pytest.fixture
def make_small(make_config):
  def make(family, **changes):
    values = FAMILIES[family] | {"max_positions": 16} | changes
    config = dataclasses.replace(make_config().model, **values)
    rng = np.random.default_rng(0)

    def fill(like):
      # As if trained: no scale is 1, no bias is 0.
      ones = len(like.shape) == 1
      return rng.normal(ones, 0.1, like.shape).astype(np.float32)

    return config, jax.tree.map(fill, shapes(config))

  return make


def logits(params, config, size=SIZE, length=12):
  """Returns logits [2, L, size] at every position of two random documents."""
  ids = np.random.default_rng(1).integers(5, 300, (2, length))
  positions = np.broadcast_to(np.arange(length), ids.shape)
  model = jax.jit(MaskedLM(config, size).apply)
  out = model({"params": params}, ids, np.ones_like(ids), positions, positions)
  return np.asarray(out.logits_BPV[..., :size])


def check_shapes(params, config, size=SIZE):
  """Asserts that these are the parameters of a model of this shape."""
  listed = lambda tree: {
    path: (leaf.shape, str(leaf.dtype))
    for path, leaf in flatten_dict(tree, sep="/").items()
  }
  assert listed(params) == listed(shapes(config, size))


@pytest.mark.slow
@EVERY_FAMILY
def test_added_tokens_change_no_other_logit(family, make_small):
  config, params = make_small(family)
  params["head"].get("bias", np.zeros(384))[SIZE:] = 7.0
  before = logits(params, config)
  pieces = [[10, 20, 30], [40], [], *[[5]] * 90]
  grown = add_tokens(params, pieces, SIZE)
  check_shapes(grown, config, SIZE + len(pieces))
  after = logits(grown, config, SIZE + len(pieces))
  np.testing.assert_allclose(after[..., :SIZE], before, atol=1e-5)
  # The logit of a new token is the mean of those of its pieces.
  new = after[..., SIZE:]
  np.testing.assert_allclose(
    new[..., 0], before[..., [10, 20, 30]].mean(-1), atol=1e-4
  )
  np.testing.assert_allclose(new[..., 1], before[..., 40], atol=1e-4)
  np.testing.assert_allclose(new[..., 2], before.mean(-1), atol=1e-4)


def test_embedding_of_a_new_token_is_the_mean_of_its_pieces(make_small):
  config, params = make_small("bert")
  grown = add_tokens(params, [[10, 20]], 290)
  check_shapes(grown, config)
  old, new = (p["encoder"]["token_embedding"] for p in (params, grown))
  np.testing.assert_allclose(new[290], (old[10] + old[20]) / 2, rtol=1e-6)
  # Padding rows after it stay.
  np.testing.assert_array_equal(new[291:], old[291:])


def test_extended_positions_change_no_short_document(make_small):
  config, params = make_small("bert")
  longer, new = extend_positions(params, config, 40)
  assert new == dataclasses.replace(config, max_positions=40)
  check_shapes(longer, new)
  np.testing.assert_array_equal(
    logits(longer, new, length=16), logits(params, config, length=16)
  )
  table = longer["encoder"]["position_embedding"]
  np.testing.assert_array_equal(table[16:32], table[:16])
  np.testing.assert_array_equal(table[32:], table[:8])


def test_extended_rotary_positions_change_only_the_config(make_small):
  config, params = make_small("modernbert")
  longer, new = extend_positions(params, config, 64, rope_theta=160_000.0)
  assert new == dataclasses.replace(
    config, max_positions=64, rope_theta=160_000.0
  )
  jax.tree.map(np.testing.assert_array_equal, longer, params)


def test_invalid_position_extensions_raise_input_error(make_small):
  config, params = make_small("bert")
  with pytest.raises(InputError, match="max_positions=8 is less than the 16"):
    extend_positions(params, config, 8)
  with pytest.raises(InputError, match="rope_theta does nothing for learned"):
    extend_positions(params, config, 32, rope_theta=160_000.0)


def wider(config, times, **changes):
  changes = {"mlp_width": 100, "max_positions": 20} | changes
  if config.embedding_width:
    changes["embedding_width"] = config.embedding_width * times
  return dataclasses.replace(
    config,
    width=config.width * times,
    num_heads=config.num_heads * times,
    num_kv_heads=config.num_kv_heads * times,
    **changes,
  )


@pytest.mark.slow
@EVERY_FAMILY
@pytest.mark.parametrize("times", [1, 2, 3])
def test_wider_model_has_equal_logits(family, times, make_small):
  small, params = make_small(family)
  large = wider(small, times)
  grown = grow(params, small, large)
  check_shapes(grown, large)
  before = logits(params, small)
  np.testing.assert_allclose(
    logits(grown, large), before, atol=1e-4 * np.abs(before).max()
  )


@pytest.mark.slow
@EVERY_FAMILY
def test_width_that_is_no_multiple_starts_close(family, make_small):
  small, params = make_small(family)
  large = dataclasses.replace(
    small,
    width=48,
    num_heads=6,
    num_kv_heads=small.num_kv_heads and 3,
    mlp_width=80,
    embedding_width=small.embedding_width and 20,
  )
  grown = grow(params, small, large)
  check_shapes(grown, large)
  before, after = logits(params, small), logits(grown, large)
  assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.8


def test_axes_are_tiled_from_the_middle(make_small):
  small, params = make_small("bert")
  large = dataclasses.replace(small, width=48, num_heads=6)
  old = params["encoder"]["token_embedding"]
  new = grow(params, small, large)["encoder"]["token_embedding"]
  np.testing.assert_allclose(new[:, 8:40], old, rtol=1e-6)
  np.testing.assert_allclose(new[:, :8], old[:, -8:], rtol=1e-6)
  np.testing.assert_allclose(new[:, 40:], old[:, :8], rtol=1e-6)


def sources(params, grown):
  """Returns the source of each layer, found by one of its matrices."""
  matrix = lambda tree, layer: np.asarray(
    tree["encoder"][f"blocks_{layer}"]["mlp"]["out"]["kernel"]
  )
  count = lambda tree: sum(k.startswith("blocks_") for k in tree["encoder"])
  return [
    next(
      s
      for s in range(count(params))
      if np.allclose(matrix(params, s), matrix(grown, layer), atol=1e-6)
    )
    for layer in range(count(grown))
  ]


@pytest.mark.parametrize(
  ("small", "large", "expected"),
  [
    (3, 6, [0, 0, 1, 1, 2, 2]),
    (2, 3, [0, 1, 1]),
    (4, 6, [0, 1, 1, 2, 3, 3]),
    (1, 3, [0, 0, 0]),
  ],
)
def test_layers_are_repeated_in_order(small, large, expected, make_small):
  config, params = make_small("bert", num_layers=small)
  deeper = dataclasses.replace(config, num_layers=large)
  grown = grow(params, config, deeper)
  check_shapes(grown, deeper)
  assert sources(params, grown) == expected


def test_incomplete_period_is_filled_from_the_one_before(make_small):
  config, params = make_small("modernbert", num_layers=7)
  deeper = dataclasses.replace(config, num_layers=8)
  found = sources(params, grow(params, config, deeper))
  assert found == [0, 1, 2, 3, 4, 5, 6, 4]


def test_local_and_global_layers_copy_their_own_kind(make_small):
  config, params = make_small("modernbert", num_layers=7)
  deeper = dataclasses.replace(config, num_layers=13)
  grown = grow(params, config, deeper)
  check_shapes(grown, deeper)
  found = sources(params, grown)
  assert found == [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5, 6]
  for layer, source in enumerate(found):
    assert config.is_local(source) == deeper.is_local(layer)
  # The first layer had no attention norm to copy.
  copy = grown["encoder"]["blocks_3"]
  assert set(copy[ATTENTION_NORM]) == {"scale"}
  np.testing.assert_array_equal(copy[ATTENTION_NORM]["scale"], 1.0)
  assert ATTENTION_NORM not in grown["encoder"]["blocks_0"]


def test_modernbert_large_from_base(make_small):
  """22 to 28 layers: 7 to 9 periods of 3, and a global layer at the end."""
  config, params = make_small("modernbert", num_layers=22)
  deeper = dataclasses.replace(config, num_layers=28)
  found = sources(params, grow(params, config, deeper))
  periods = [0, 1, 2, 2, 3, 4, 5, 5, 6]
  assert found == [*(3 * p + i for p in periods for i in range(3)), 21]


def test_shared_layers_are_not_repeated(make_small):
  config, params = make_small("albert")
  deeper = dataclasses.replace(config, num_layers=5)
  grown = grow(params, config, deeper)
  check_shapes(grown, deeper)
  jax.tree.map(np.testing.assert_array_equal, grown, params)


def test_copies_diverge_without_dropout(make_small):
  small, params = make_small("bert", num_layers=1)
  large = dataclasses.replace(small, mlp_width=128)
  model = MaskedLM(large, SIZE)
  ids = np.random.default_rng(2).integers(5, SIZE, (4, 16))
  rest = np.ones_like(ids), *[np.broadcast_to(np.arange(16), ids.shape)] * 2

  @jax.jit
  @jax.grad
  def gradient(params):
    out = model.apply({"params": params}, np.roll(ids, 1, axis=1), *rest)
    logits = out.logits_BPV
    return optax.softmax_cross_entropy_with_integer_labels(logits, ids).mean()

  # Adam's steps do not depend on the scale of gradients, so copies need
  # gradients in different directions.
  optimizer = optax.adam(1e-3)
  grown = grow(params, small, large)
  state = optimizer.init(grown)
  kernel = lambda: grown["encoder"]["blocks_0"]["mlp"]["in"]["kernel"]
  before = kernel()
  np.testing.assert_allclose(before[:, 64:], before[:, :64], atol=1e-6)
  for _ in range(5):
    updates, state = optimizer.update(gradient(grown), state, grown)
    grown = optax.apply_updates(grown, updates)
  moved = np.abs(kernel() - before).mean()
  apart = np.abs(kernel()[:, 64:] - kernel()[:, :64]).mean()
  assert apart > 0.2 * moved


@pytest.mark.parametrize(
  ("family", "changes", "message"),
  [
    ("bert", {"norm_kind": "rms"}, "model.norm_kind='layer' into 'rms'"),
    ("bert", {"glu": True}, "model.glu=False into True"),
    ("bert", {"activation": "relu"}, "model.activation='gelu' into 'relu'"),
    ("bert", {"num_types": 3}, "model.num_types=2 into 3"),
    ("bert", {"share_layers": True}, "model.share_layers"),
    ("bert", {"tie_embeddings": False}, "model.tie_embeddings"),
    ("bert", {"position_kind": "alibi"}, "model.position_kind"),
    ("bert", {"num_layers": 1}, "shrink model.num_layers from 2 to 1"),
    ("bert", {"mlp_width": 32}, "shrink model.mlp_width from 64 to 32"),
    ("bert", {"max_positions": 8}, "shrink model.max_positions from 16 to 8"),
    ("bert", {"width": 64}, "the width of a head from 8 to 16"),
    ("bert", {"embedding_width": 64}, "model.embedding_width=0 and 64"),
    ("albert", {"embedding_width": 0}, "model.embedding_width=16 and 0"),
    ("eurobert", {"num_kv_heads": 0}, "the heads of a key from 2 to 1"),
    ("modernbert", {"window": 6}, "model.window=4 into 6"),
    ("modernbert", {"rope_theta": 5.0}, "model.rope_theta"),
  ],
)
def test_invalid_growth_raises_input_error(
  family, changes, message, make_small
):
  small, params = make_small(family)
  with pytest.raises(InputError) as error:
    grow(params, small, dataclasses.replace(small, **changes))
  assert message in str(error.value)


@pytest.mark.parametrize(
  ("family", "start", "message"),
  [
    ("bert", {"position_kind": "alibi"}, "model.num_heads with"),
    ("bert", {"head_dense": "none"}, "model.head_dense='none'"),
  ],
)
def test_invalid_wider_growth_raises_input_error(
  family, start, message, make_small
):
  small, params = make_small(family, **start)
  with pytest.raises(InputError, match=message):
    grow(params, small, wider(small, 2))
  deeper = dataclasses.replace(small, num_layers=3)
  check_shapes(grow(params, small, deeper), deeper)


def test_growth_repeats_whole_periods_only(make_small):
  small, params = make_small("modernbert", num_layers=2)
  with pytest.raises(
    InputError, match=r"num_layers=2.* one period of model.global_every"
  ):
    grow(params, small, dataclasses.replace(small, num_layers=4))


def test_growth_ignores_dropout_and_dtype(make_small):
  small, params = make_small("bert")
  large = dataclasses.replace(small, mlp_dropout=0.1, dtype="bfloat16")
  grown = grow(params, small, large)
  for path, leaf in flatten_dict(params, sep="/").items():
    same = flatten_dict(grown, sep="/")[path]
    np.testing.assert_array_equal(same, np.asarray(leaf, np.float32))
