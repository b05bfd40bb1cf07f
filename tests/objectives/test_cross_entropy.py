"""The cross entropy by vocabulary chunks against all logits at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlm_jax.models.heads import LazyLogits
from mlm_jax.objectives import cross_entropy as cross_entropy_lib
from mlm_jax.objectives.cross_entropy import cross_entropy, in_chunks


def case(scale=1.0, vocab_size=200, padded=256, seed=0):
  rng = np.random.default_rng(seed)
  array = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  real = jnp.arange(padded) < vocab_size
  bias = jnp.where(real, array(padded), -jnp.inf)
  logits = LazyLogits(3 * array(3, 5, 16), array(padded, 16), bias, scale)
  targets = jnp.asarray(rng.integers(0, vocab_size, [3, 5]))
  return logits, targets, jnp.asarray(rng.random([3, 5]), jnp.float32)


def losses(logits, targets, weights, num_chunks):
  if num_chunks:
    loss_BP, right_BP = in_chunks(logits, targets, num_chunks)
    return jnp.sum(loss_BP * weights), jnp.sum(right_BP * weights)
  found = cross_entropy(logits, targets, weights)
  return found["loss"], found["accuracy"]


# Chunks that divide the vocabulary, that do not, and one a token.
@pytest.mark.parametrize("num_chunks", [1, 4, 7, 256])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_chunks_give_the_same_loss_and_gradients(num_chunks, scale):
  logits, targets, weights = case(scale)
  # Gradients of the vectors, the table and the bias.
  both = [
    jax.value_and_grad(losses, has_aux=True)(logits, targets, weights, n)
    for n in (0, num_chunks)
  ]
  for whole, cut in zip(*map(jax.tree.leaves, both), strict=True):
    np.testing.assert_allclose(cut, whole, rtol=1e-5, atol=1e-5)


def test_large_logits_do_not_overflow():
  logits, targets, weights = case()
  logits = logits.replace(x_BPE=logits.x_BPE * 1e3)
  (loss, _), grads = jax.value_and_grad(losses, has_aux=True)(
    logits, targets, weights, 7
  )
  assert all(np.isfinite(x).all() for x in jax.tree.leaves((loss, grads)))


def test_many_logits_are_never_in_memory_at_once(monkeypatch):
  logits, targets, weights = case()

  def has_all():
    grad = jax.grad(lambda *args: cross_entropy(*args)["loss"])
    return "[3,5,256]" in str(jax.make_jaxpr(grad)(logits, targets, weights))

  assert has_all()
  monkeypatch.setattr(cross_entropy_lib, "_MAX_LOGITS", 1_000)
  monkeypatch.setattr(cross_entropy_lib, "_CHUNK_SIZE", 5_000)
  assert not has_all()


def test_bfloat16_logits_accumulate_in_float32():
  logits, targets, weights = case()
  half = logits.replace(x_BPE=logits.x_BPE.astype(jnp.bfloat16))
  exact = half.replace(x_BPE=half.x_BPE.astype(jnp.float32))
  loss = lambda logits, num_chunks: losses(
    logits, targets, weights, num_chunks
  )[0]
  np.testing.assert_allclose(loss(half, 7), loss(half, 0), rtol=1e-5)
  np.testing.assert_allclose(loss(half, 7), loss(exact, 0), rtol=1e-2)
