"""Optimizers beside reference implementations, over 50 steps.

The references hold q, k and v, or gate and input, as tensors of their own.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optimi
import pytest
import schedulefree
import torch
from flax import traverse_util

from mlm_jax.config import OptimConfig
from mlm_jax.models import axes
from mlm_jax.training import adafactor, muon, optimizers, schedules

STEPS = 50
# By path: D = 8, two groups of two queries, heads of 4, F = 6, 10 pieces.
SHAPES = {
  "encoder/blocks_0/attention/qkv/kernel": (8, 2, 4, 4),
  "encoder/blocks_0/mlp/in/kernel": (8, 2, 6),
  "encoder/blocks_0/mlp/in/bias": (2, 6),
  "encoder/blocks_0/mlp_norm/scale": (8,),
  "encoder/token_embedding": (10, 8),
}
TENSORS = 3 + 2 + 2 + 1 + 1


def random_trees(count):
  rng = np.random.default_rng(0)
  scales = 10 ** rng.uniform(-3, 1, count)  # Some gradients are spikes.
  return [
    {
      path: (scale * rng.standard_normal(shape)).astype(np.float32)
      for path, shape in SHAPES.items()
    }
    for scale in scales
  ]


def split(tree):
  """Returns all tensors, and whether each decays, in the order of `tree`."""
  tensors, decays = [], []
  for path, array in tree.items():
    parts = axes.split(path, np.asarray(array))
    tensors += parts
    decays += [not path.endswith(("bias", "scale"))] * len(parts)
  assert len(tensors) == TENSORS
  return tensors, decays


def ours(optim, params, gradients):
  """Returns the tensors after training."""
  optimizer = optimizers.Optimizer(
    optim, schedules.learning_rate(optim, len(gradients))
  )
  nested = lambda tree: traverse_util.unflatten_dict(tree, sep="/")
  params = jax.tree.map(jnp.asarray, nested(params))
  state, update = optimizer.init(params), jax.jit(optimizer.update)
  for step, gradient in enumerate(gradients):
    updates, state = update(nested(gradient), state, params, place=step)
    params = jax.tree.map(jnp.add, params, updates)
  found = traverse_util.flatten_dict(params, sep="/")
  return split({path: found[path] for path in SHAPES})[0]


def rates(optim):
  schedule = schedules.learning_rate(optim, STEPS)
  return [float(schedule(step)) for step in range(STEPS)]


def torch_reference(optim, make, params, gradients, shaped=lambda t: t):
  """Returns the tensors after training by a PyTorch optimizer."""
  tensors, decays = split(params)
  tensors = [torch.nn.Parameter(torch.tensor(shaped(t))) for t in tensors]
  groups = [
    {"params": [t], "weight_decay": optim.weight_decay * decay}
    for t, decay in zip(tensors, decays, strict=True)
  ]
  optimizer = make(groups)
  for rate, gradient in zip(rates(optim), gradients, strict=True):
    for tensor, part in zip(tensors, split(gradient)[0], strict=True):
      tensor.grad = torch.tensor(shaped(part))
    for group in optimizer.param_groups:
      group["lr"] = rate
    optimizer.step()
  return [t.detach().numpy() for t in tensors]


def lamb_reference(optim, params, gradients):
  """Returns the tensors after training by the formula, in float64."""
  tensors, decays = split(params)
  tensors = [t.astype(np.float64) for t in tensors]
  moments = [[np.zeros_like(t), np.zeros_like(t)] for t in tensors]
  for step, (rate, gradient) in enumerate(
    zip(rates(optim), gradients, strict=True), 1
  ):
    for i, grad in enumerate(split(gradient)[0]):
      grad, (m, v) = grad.astype(np.float64), moments[i]
      m[:] = optim.b1 * m + (1 - optim.b1) * grad
      v[:] = optim.b2 * v + (1 - optim.b2) * grad**2
      m_hat, v_hat = m / (1 - optim.b1**step), v / (1 - optim.b2**step)
      update = m_hat / (np.sqrt(v_hat) + optim.eps)
      if decays[i]:
        update += optim.weight_decay * tensors[i]
        ratio = np.linalg.norm(tensors[i]) / np.linalg.norm(update)
        update *= ratio
      tensors[i] = tensors[i] - rate * update
  return tensors


OPTIM = {
  "peak_lr": 0.02,
  "warmup_steps": 5,
  "clip_norm": 0.0,
  "weight_decay": 0.1,
  "b1": 0.9,
  "b2": 0.98,
}


@pytest.fixture(scope="module")
def problem():
  params, *gradients = random_trees(STEPS + 1)
  return params, gradients


def assert_equal(found, expected):
  for a, b in zip(found, expected, strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("times", ["rate", "relative_rate"])
@pytest.mark.parametrize("eps", [1e-6, 1e-2])
def test_stable_adamw_equals_optimi(problem, times, eps):
  optim = OptimConfig(
    name="stable_adamw", weight_decay_times=times, eps=eps, **OPTIM
  )
  make = lambda groups: optimi.StableAdamW(
    groups,
    lr=optim.peak_lr,
    betas=(optim.b1, optim.b2),
    eps=eps,
    decouple_lr=times == "relative_rate",
    max_lr=optim.peak_lr,
    foreach=False,
    triton=False,
  )
  assert_equal(ours(optim, *problem), torch_reference(optim, make, *problem))


def test_lion_equals_optimi(problem):
  optim = OptimConfig(name="lion", **OPTIM)
  make = lambda groups: optimi.Lion(
    groups,
    lr=optim.peak_lr,
    betas=(optim.b1, optim.b2),
    foreach=False,
    triton=False,
  )
  assert_equal(ours(optim, *problem), torch_reference(optim, make, *problem))


def test_adamw_equals_pytorch(problem):
  optim = OptimConfig(name="adamw", **OPTIM)
  make = lambda groups: torch.optim.AdamW(
    groups, lr=optim.peak_lr, betas=(optim.b1, optim.b2), eps=optim.eps
  )
  assert_equal(ours(optim, *problem), torch_reference(optim, make, *problem))


def test_adafactor_equals_pytorch(problem, monkeypatch):
  monkeypatch.setattr(adafactor, "_LEAST_FACTORED", 1)
  optim = OptimConfig(name="adafactor", **OPTIM | {"b2": 0.999})
  make = lambda groups: torch.optim.Adafactor(groups, lr=optim.peak_lr)
  # PyTorch takes a tensor of more axes for a stack of matrices.
  as_matrix = lambda t: t.reshape(len(t), -1) if t.ndim > 2 else t
  found = [as_matrix(t) for t in ours(optim, *problem)]
  assert_equal(found, torch_reference(optim, make, *problem, as_matrix))


def muon_reference(optim, params, gradients):
  """Returns the tensors after training by the formulas, in float64."""
  tensors, decays = split(params)
  tensors = [t.astype(np.float64) for t in tensors]
  # q, k and v, gate and input.
  is_matrix = [index < 5 for index in range(TENSORS)]
  moments = [[np.zeros_like(t), np.zeros_like(t)] for t in tensors]
  for step, (rate, gradient) in enumerate(
    zip(rates(optim), gradients, strict=True), 1
  ):
    for i, grad in enumerate(split(gradient)[0]):
      grad, (m, v) = grad.astype(np.float64), moments[i]
      if is_matrix[i]:
        m[:] = 0.95 * m + grad
        update = newton_schulz((0.95 * m + grad).reshape(8, -1))
        update *= 0.2 * np.sqrt(max(update.shape))
        update = update.reshape(grad.shape)
      else:
        m[:] = optim.b1 * m + (1 - optim.b1) * grad
        v[:] = optim.b2 * v + (1 - optim.b2) * grad**2
        m_hat, v_hat = m / (1 - optim.b1**step), v / (1 - optim.b2**step)
        update = m_hat / (np.sqrt(v_hat) + optim.eps)
      if decays[i]:
        update = update + optim.weight_decay * tensors[i]
      tensors[i] = tensors[i] - rate * update
  return tensors


def newton_schulz(matrix):
  """Applies the polynomial to the singular values themselves."""
  left, values, right = np.linalg.svd(matrix, full_matrices=False)
  values = values / (np.linalg.norm(values) + 1e-7)
  for _ in range(5):
    values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
  return left @ np.diag(values) @ right


def test_muon_equals_the_formula(problem):
  optim = OptimConfig(name="muon", **OPTIM)
  found, expected = ours(optim, *problem), muon_reference(optim, *problem)
  for a, b in zip(found, expected, strict=True):
    # The iteration triples small errors five times.
    np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)


def test_muon_equals_pytorch_in_a_step(problem):
  """PyTorch iterates in bfloat16, which keeps two to three digits."""
  rng = np.random.default_rng(1)
  for shape in ((8, 24), (24, 8)):
    matrix = rng.standard_normal(shape).astype(np.float32)
    parameter = torch.nn.Parameter(torch.zeros(shape))
    optimizer = torch.optim.Muon(
      [parameter], lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"
    )
    parameter.grad = torch.tensor(matrix)
    optimizer.step()
    scaled = 0.2 * np.sqrt(24) * np.asarray(muon.orthogonalize(matrix))
    np.testing.assert_allclose(-scaled, parameter.detach(), atol=0.05)
    values = np.linalg.svd(muon.orthogonalize(matrix), compute_uv=False)
    assert (values > 0.65).all() and (values < 1.25).all()


def test_schedule_free_adamw_equals_its_authors(problem):
  """Both the average and, halfway, the weights that gradients are taken at."""
  optim = OptimConfig(
    name="schedule_free_adamw", schedule="constant", **OPTIM | {"b1": 0.95}
  )
  made = []

  def make(groups):
    made.append(
      schedulefree.AdamWScheduleFree(
        groups,
        lr=optim.peak_lr,
        betas=(optim.b1, optim.b2),
        eps=optim.eps,
        foreach=False,
      )
    )
    made[0].train()
    return made[0]

  params, gradients = problem
  tensors = torch_reference(optim, make, params, gradients)
  found = ours(optim, params, gradients)
  # The tensors of `torch_reference` are those in training.
  with pytest.raises(AssertionError):
    assert_equal(found, tensors)
  made[0].eval()
  assert_equal(
    found, [group["params"][0].detach() for group in made[0].param_groups]
  )


def test_lamb_equals_the_formula(problem):
  optim = OptimConfig(name="lamb", **OPTIM)
  assert_equal(ours(optim, *problem), lamb_reference(optim, *problem))
