"""Replaced token detection: which loss trains what, and that both learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlm_jax.config import build, default
from mlm_jax.errors import InputError
from mlm_jax.models.composite import Discriminator, MaskedLM
from mlm_jax.objectives import rtd
from mlm_jax.objectives.rtd import generator_config

ELECTRA = {"objective.name": "rtd", "objective.generator_share": 0.5}
SIGMAS = 5


@pytest.fixture
def run(make_config, make_run):
  return make_run(make_config(**ELECTRA))


@pytest.fixture
def params(run):
  return run.init_state().params


def sums(run, params, batch, seed=0):
  return run.objective.loss_sums(params, batch, jax.random.key(seed))


def norms(tree):
  leaves = jax.tree.leaves_with_path(tree)
  name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
  return {name(path): float(jnp.abs(x).max()) for path, x in leaves}


@pytest.mark.slow
def test_each_submodel_has_gradients_of_its_own_loss_alone(
  run, params, make_batch
):
  batch = make_batch(run.config)
  for term, own, other in (
    ("rtd", "discriminator", "generator"),
    ("generator", "generator", "discriminator"),
  ):
    loss = lambda p, t=term: sums(run, p, batch)[t]["loss"]
    found = norms(jax.jit(jax.grad(loss))(params))
    of = lambda which, found=found: [
      v for k, v in found.items() if k.startswith(which)
    ]
    assert max(of(other)) == 0
    # A bias on all keys alike changes no softmax: its gradient is nothing.
    assert np.mean(np.array(of(own)) > 0) > 0.9
    assert min(of("embeddings/token")) > 0, "both teach the embeddings"


@pytest.mark.slow
def test_the_discriminator_reads_what_the_generator_samples(
  run, params, make_batch, vocab, monkeypatch
):
  batch = make_batch(run.config)
  targets = batch["target_ids"]
  seen = {}

  def drawn(key, logits, vocab):
    # Every other one right.
    wrong = np.where(targets == 299, 298, 299)
    return jnp.where(jnp.arange(targets.shape[1]) % 2 == 0, targets, wrong)

  apply = Discriminator.apply

  def spy(self, variables, ids, *rest, **kw):
    seen["ids"] = np.asarray(ids)
    return apply(self, variables, ids, *rest, **kw)

  monkeypatch.setattr(rtd, "sample", drawn)
  monkeypatch.setattr(Discriminator, "apply", spy)
  sums(run, params, batch)
  original = batch["input_ids"].copy()
  rows = np.arange(len(original))[:, None]
  original[rows, batch["target_positions"]] = targets
  replaced = np.zeros(original.shape, bool)
  odd = (np.arange(targets.shape[1]) % 2 == 1) & (batch["target_weights"] > 0)
  replaced[rows, batch["target_positions"]] = odd
  np.testing.assert_array_equal(seen["ids"] != original, replaced)
  assert not (seen["ids"] == vocab.mask_id).any()


def test_the_loss_is_over_every_real_token(run, params, make_batch, vocab):
  batch = make_batch(run.config)
  denominators = run.objective.denominators(batch)
  num_real = (batch["input_ids"] != vocab.pad_id).sum()
  assert float(denominators["rtd"]) == num_real
  zero = jax.tree.map(jnp.zeros_like, params)
  found = sums(run, zero, batch)["rtd"]
  # A logit of 0 says one in two.
  assert float(found["loss"] / denominators["rtd"]) == pytest.approx(
    np.log(2),
    rel=1e-5,  # A sum in float32.
  )


def test_samples_follow_the_softmax_and_are_never_special(vocab):
  rng = np.random.default_rng(0)
  logits = rng.normal(size=[1, 1, 384]) * 2
  logits[..., vocab.size :] = -np.inf
  many = jnp.asarray(np.repeat(logits, 200_000, axis=1), jnp.float32)
  found = jax.jit(rtd.sample, static_argnums=2)(
    jax.random.split(jax.random.key(1), 1), many, vocab
  )
  counts = np.bincount(np.asarray(found[0]), minlength=384)
  logits[..., list(vocab.special_ids)] = -np.inf
  shares = np.exp(logits[0, 0])
  expected = 200_000 * shares / shares.sum()
  assert (counts[expected == 0] == 0).all()
  seen = expected > 5
  chi_square = ((counts - expected)[seen] ** 2 / expected[seen]).sum()
  freedom = seen.sum() - 1
  assert abs(chi_square - freedom) / np.sqrt(2 * freedom) < SIGMAS


def test_a_certain_generator_samples_what_it_is_certain_of(vocab):
  logits = jnp.full([1, 50, 384], -1e9)
  tokens = jnp.linspace(5, 299, 50).astype(jnp.int32)
  logits = logits.at[0, jnp.arange(50), tokens].set(0.0)
  for seed in range(20):
    found = rtd.sample(jax.random.split(jax.random.key(seed), 1), logits, vocab)
    np.testing.assert_array_equal(found[0], tokens)


def test_submodels_compute_what_the_whole_model_does(run, params, vocab):
  ids = jnp.array([[vocab.start_id, 10, vocab.mask_id, 12, vocab.end_id]])
  arrays = ids, jnp.ones_like(ids), jnp.arange(5)[None]
  electra = run.objective.model
  model, alone = run.objective.submodels(params)["generator"]
  assert isinstance(model, MaskedLM)
  expected = electra.apply(
    {"params": params},
    *arrays,
    jnp.array([[2]]),
    method=lambda electra, *arrays: electra.generator(*arrays),
  ).logits_BPV
  found = model.apply({"params": alone}, *arrays, jnp.array([[2]])).logits_BPV
  np.testing.assert_allclose(found, expected, atol=1e-5)
  expected = electra.apply(
    {"params": params},
    *arrays,
    method=lambda electra, *arrays: electra.discriminator.encoder(*arrays),
  )
  found = run.encode(params, *arrays)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_generator_is_narrower_and_shares_the_embeddings(run, params):
  config = generator_config(run.config)
  assert (config.width, config.num_heads, config.mlp_width) == (16, 2, 32)
  assert config.embedding_width == run.config.model.width
  assert "token_embedding" not in params["generator"]["encoder"]
  assert "token_embedding" not in params["discriminator"]["encoder"]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_both_learn(devices, make_config, make_run, make_batch):
  config = make_config(
    **ELECTRA, **{"optim.peak_lr": 5e-3, "train.log_every": 1}
  )
  run = make_run(config, devices)
  state, first = run.init_state(), None
  for _ in range(40):
    state, metrics = run.train_step(state, run.to_device(make_batch(config)))
    first = first or jax.device_get(metrics)
  assert float(metrics["generator_loss"]) < first["generator_loss"] - 1
  assert float(metrics["rtd_loss"]) < first["rtd_loss"]
  assert float(metrics["loss"]) == pytest.approx(
    50 * float(metrics["rtd_loss"]) + float(metrics["generator_loss"]),
    rel=1e-5,
  )


def test_a_generator_whose_heads_do_not_divide_its_width_raises():
  values = default()
  values.objective.update(name="rtd", generator_share=0.3)
  with pytest.raises(InputError, match="generator_share"):
    build(values)


def test_rtd_without_masks_raises():
  values = default()
  values.objective.name = "rtd"
  values.corruption.mask_share = 0.0
  with pytest.raises(InputError, match="mask_share must be positive"):
    build(values)


def test_multi_query_attention_stays_so_in_the_generator():
  values = default()
  values.model.update(num_heads=4, num_kv_heads=1, width=64)
  values.objective.update(name="rtd", generator_share=0.5)
  assert generator_config(build(values)).num_kv_heads == 1
