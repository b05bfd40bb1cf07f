"""Causal language modelling: attention masks, and that it learns."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlm_jax.config import build, default
from mlm_jax.errors import InputError
from mlm_jax.models.composite import MaskedLM, init_params
from mlm_jax.models.encoder import Encoder

CAUSAL = {"objective.name": "causal_lm", "corruption.kind": "next_token"}
KINDS = [
  {"model.position_kind": "rope", "model.norm_placement": "pre"},
  {"model.window": 4, "model.global_every": 2},
  {"model.position_kind": "alibi", "model.num_kv_heads": 2},
]


def influence(config, vocab, prefix=None):
  """Returns float[L, L]: how much the output at a place owes to each input."""
  model = MaskedLM(config.model, vocab.size)
  encoder = Encoder(config.model, vocab.size)
  rows = jnp.array([[2, 10, 11, 12, 13, 3, 2, 20, 21, 3, 0, 0]])
  segments = jnp.array([[1] * 6 + [2] * 4 + [0] * 2])
  positions = jnp.array([[*range(6), *range(4), 0, 0]])
  params = nn.unbox(init_params(model, jax.random.key(0)))
  table = params["encoder"]["token_embedding"]
  # Each place has an embedding of its own, to be told apart by.
  places = jnp.arange(12)[None] + 100

  def outputs(vectors):
    own = {"token_embedding": table.at[places[0]].set(vectors)}
    return encoder.apply(
      {"params": params["encoder"] | own},
      places,
      segments,
      positions,
      causal=True,
      prefix_BL=prefix,
    )[0]

  jacobian = jax.jit(jax.jacobian(outputs))(table[rows[0]])
  return np.abs(np.asarray(jacobian)).max(axis=(1, 3))


SEGMENTS = np.array([1] * 6 + [2] * 4 + [0] * 2)
SAME = SEGMENTS[:, None] == SEGMENTS
BEFORE = np.tri(12, dtype=bool)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_attention_is_causal_and_within_documents(kind, make_config, vocab):
  found = influence(make_config(**kind), vocab)
  assert (found[~(SAME & BEFORE)] == 0).all()
  direct = SAME & BEFORE
  if "model.window" not in kind:
    assert (found[direct] > 0).all()


def test_a_prefix_has_bidirectional_attention(make_config, vocab):
  prefix = np.array([[1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0]])
  found = influence(make_config(**KINDS[0]), vocab, jnp.asarray(prefix))
  seen = SAME & (BEFORE | (prefix != 0))
  assert (found[~seen] == 0).all()
  assert (found[seen] > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["next_token", "prefix"])
def test_the_next_token_is_learnt(kind, make_config, make_run, vocab):
  config = make_config(
    **{**CAUSAL, "corruption.kind": kind, "train.log_every": 1}
  )
  run = make_run(config)
  rng = np.random.default_rng(0)
  # Each token is followed by the next higher one.
  first = rng.integers(5, 200, [8, 1])
  rows = (first + np.arange(32)).astype(np.int32)
  rows[:, 0] = vocab.start_id
  batch = {
    "input_ids": rows,
    "target_positions": np.tile(np.arange(32, dtype=np.int32), [8, 1]),
    "target_ids": np.roll(rows, -1, axis=1),
    "target_weights": np.ones([8, 32], np.float32),
  }
  batch["target_weights"][:, [0, -1]] = 0
  if kind == "prefix":
    batch["prefix"] = np.zeros([8, 32], np.int32)
    batch["prefix"][:, :4] = 1
    batch["target_weights"][:, :4] = 0
  state = run.init_state()
  for _ in range(150):
    state, metrics = run.train_step(state, run.to_device(batch))
  assert float(metrics["loss"]) < 1
  assert float(metrics["accuracy"]) > 0.9


@pytest.mark.parametrize(
  ("name", "kind"),
  [
    ("mlm", "next_token"),
    ("rtd", "prefix"),
    ("causal_lm", "token_masking"),
    ("causal_lm", "spans"),
  ],
)
def test_an_objective_with_a_corruption_of_another_task_raises(name, kind):
  values = default()
  values.objective.name = name
  values.corruption.kind = kind
  with pytest.raises(InputError, match=r"does not support corruption\.kind"):
    build(values)
