"""Dropout is where transformers has it, at the same rates."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from mlm_jax.config import EncoderConfig
from mlm_jax.families import DROPOUTS, MODERNBERT, NO_DROPOUT
from mlm_jax.hf import families, weights
from mlm_jax.models.composite import MaskedLM, init_params
from mlm_jax.models.dropout import Dropout
from mlm_jax.models.positions import segments_and_positions
from mlm_jax.vocabulary import Vocabulary

VOCAB = Vocabulary(300, 0, 1, 2, 3, 4)
SIZE = {
  "num_layers": 2,
  "width": 32,
  "num_heads": 4,
  "mlp_width": 48,
  "max_positions": 64,
}
ONE_RATE = dict.fromkeys(DROPOUTS, 0.25)
THREE_RATES = dict(zip(DROPOUTS, (0.3, 0.2, 0.1), strict=True))

# Beside the family's name: its values and the rates that it can have.
CASES = [
  ("bert", {}, ONE_RATE),
  ("roberta", {"num_types": 1}, ONE_RATE),
  ("electra", {"embedding_width": 16}, ONE_RATE),
  ("modernbert", MODERNBERT | {"window": 6}, THREE_RATES),
]


def scaled(x, rate, xp):
  """What stands for dropout: another factor for each feature."""
  return x * (1 + rate * xp.cos(xp.arange(x.shape[-1])))


@pytest.fixture
def fixed_dropout(monkeypatch):
  """Replaces dropout in both frameworks by the same function."""

  def ours(self, x, deterministic):
    return x if deterministic else scaled(x, self.rate, jnp)

  monkeypatch.setattr(Dropout, "__call__", ours)
  monkeypatch.setattr(
    torch.nn.Dropout, "forward", lambda self, x: scaled(x, self.p, torch)
  )
  # Of attention probabilities, where we have none.
  monkeypatch.setattr(
    torch.nn.functional, "dropout", lambda x, *args, **kwargs: x
  )


@pytest.mark.parametrize(("name", "values", "rates"), CASES)
def test_dropout_is_at_the_places_of_transformers(
  name, values, rates, fixed_dropout
):
  config = EncoderConfig(**SIZE | values | NO_DROPOUT | rates)
  model, family = MaskedLM(config, VOCAB.size), families.FAMILIES[name]
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: x.value + 0.1 * rng.standard_normal(x.value.shape, np.float32),
    init_params(model, jax.random.key(0)),
    is_leaf=lambda x: hasattr(x, "value"),
  )
  ids = rng.integers(5, 300, (2, 20))
  ids[:, 0] = VOCAB.start_id
  at = np.tile(np.arange(20), (2, 1))
  places = segments_and_positions(jnp.asarray(ids), VOCAB)

  def run(**kw):
    logits = model.apply({"params": params}, ids, *places, at, **kw)
    return logits.logits_BPV[..., : VOCAB.size]

  logits = run(deterministic=False, rngs={"dropout": jax.random.key(0)})
  assert np.abs(logits - run()).max() > 0.05

  cls = getattr(transformers, family.architecture)
  peer = cls(
    cls.config_class(
      **family.write_config(config, VOCAB), attn_implementation="eager"
    )
  ).train()
  tensors = weights.to_tensors(params, VOCAB, family)
  peer.load_state_dict(
    {k: torch.tensor(v) for k, v in tensors.items()}, strict=False
  )
  peer.tie_weights()
  with torch.no_grad():
    theirs = peer(input_ids=torch.tensor(ids)).logits.numpy()
  np.testing.assert_allclose(logits, theirs, atol=2e-4)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_a_run_without_dropout_is_fine_tuned_without(name):
  family = families.FAMILIES[name]
  config = EncoderConfig(**SIZE | dict(family.fixed) | NO_DROPOUT)
  if name in ("albert", "electra"):
    config = dataclasses.replace(config, embedding_width=16)
  cls = getattr(transformers, family.architecture)
  theirs = cls.config_class(**family.write_config(config, VOCAB)).to_dict()
  rates = {
    key: value
    for key, value in theirs.items()
    # Those of classifiers are of fine-tuning alone.
    if "drop" in key and not key.startswith(("classif", "qa", "seq", "summary"))
  }
  assert not any(rates.values()), rates
