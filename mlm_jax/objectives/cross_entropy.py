"""The cross entropy of predictions, with or without all logits in memory."""

import functools

import jax
import jax.numpy as jnp

from mlm_jax.models.heads import Scores

# Bytes of logits on a device that are kept for the gradient; over it, they are
# computed twice, in parts of the vocabulary that are no more than the second.
_MOST_KEPT, _MOST_AT_ONCE = 2 << 30, 1 << 28


def cross_entropy(
  told: Scores | jax.Array, targets_BP: jax.Array, weights_BP: jax.Array
) -> dict[str, jax.Array]:
  """Returns the cross entropy in nats and the right predictions, as sums.

  Args:
    told: float32 logits [B, P, V], or what they are made of. If they would be too
      many, they are computed for a part of the vocabulary at a time.
    targets_BP: what is right.
    weights_BP: what each counts for.
  """
  if isinstance(told, Scores):
    mesh = jax.sharding.get_abstract_mesh()
    size = 4 * targets_BP.size * told.table_VE.shape[0]
    size /= 1 if mesh.empty else mesh.size
    if size > _MOST_KEPT:
      parts = round(size / _MOST_AT_ONCE)
      return _sums(*in_parts(told, targets_BP, parts), weights_BP)
    told = told.logits_BPV
  # The gradient of a gather would be a scatter into all logits.
  is_target_BPV = jnp.arange(told.shape[-1]) == targets_BP[..., None]
  target_logits_BP = jnp.sum(told, axis=-1, where=is_target_BPV)
  loss_BP = jax.nn.logsumexp(told, axis=-1) - target_logits_BP
  # The loss needs the maximum anyway; an argmax costs several times as much.
  right_BP = target_logits_BP >= jnp.max(told, axis=-1)
  return _sums(loss_BP, right_BP, weights_BP)


def _sums(loss_BP, right_BP, weights_BP):
  return {
    "loss": jnp.sum(loss_BP * weights_BP),
    "accuracy": jnp.sum(right_BP * weights_BP),
  }


def binary_cross_entropy(
  logits: jax.Array, labels: jax.Array, asked: jax.Array
) -> dict[str, jax.Array]:
  """Returns the same of yes and no, where asked; a logit over 0 says yes."""
  signed = jnp.where(labels, logits, -logits)
  return {
    "loss": jnp.sum(jax.nn.softplus(-signed), where=asked),
    "accuracy": jnp.sum(signed > 0, where=asked, dtype=jnp.float32),
  }


def in_parts(
  scores: Scores, targets_BP: jax.Array, parts: int
) -> tuple[jax.Array, jax.Array]:
  """Returns the loss and whether it is right, [B, P] each, of each prediction.

  Args:
    scores: what makes the logits.
    targets_BP: what is right.
    parts: how many parts of the vocabulary, one of which is in memory at a time.
  """
  return _in_parts(
    (parts, scores.scale),
    scores.x_BPE,
    scores.table_VE,
    scores.bias_V,
    targets_BP,
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _in_parts(how, x_BPE, table_VE, bias_V, targets_BP):
  return _forward(how, x_BPE, table_VE, bias_V, targets_BP)[0]


def _forward(how, x_BPE, table_VE, bias_V, targets_BP):
  """Goes over the parts with the maximum and the sum of what was seen."""

  def add(so_far, part):
    highest_BP, sum_BP, target_BP = so_far
    logits_BPW, is_target_BPW = _of_part(how, x_BPE, targets_BP, part)
    new_BP = jnp.maximum(highest_BP, jnp.max(logits_BPW, axis=-1))
    shares_BPW = jnp.exp(logits_BPW - new_BP[..., None])
    sum_BP *= jnp.exp(highest_BP - new_BP)
    sum_BP += jnp.sum(shares_BPW, axis=-1)
    target_BP += jnp.sum(logits_BPW, axis=-1, where=is_target_BPW)
    return (new_BP, sum_BP, target_BP), None

  zeros_BP = jnp.zeros(targets_BP.shape, jnp.float32)
  # Not -inf, whose difference with itself is none.
  first = zeros_BP - 1e30, zeros_BP, zeros_BP
  (highest_BP, sum_BP, target_BP), _ = jax.lax.scan(
    add, first, _cut(how, table_VE, bias_V)
  )
  log_sum_BP = highest_BP + jnp.log(sum_BP)
  told = log_sum_BP - target_BP, target_BP >= highest_BP
  return told, (x_BPE, table_VE, bias_V, targets_BP, log_sum_BP)


def _backward(how, kept, gradients):
  """Goes over them again, with softmax - target for the logits' gradient."""
  x_BPE, table_VE, bias_V, targets_BP, log_sum_BP = kept
  weights_BP, _ = gradients
  _, scale = how

  def add(dx_BPE, part):
    logits_BPW, is_target_BPW = _of_part(how, x_BPE, targets_BP, part)
    shares_BPW = jnp.exp(logits_BPW - log_sum_BP[..., None])
    dlogits_BPW = (shares_BPW - is_target_BPW) * weights_BP[..., None]
    dbias_W = jnp.sum(dlogits_BPW, axis=(0, 1))
    d_BPW = (dlogits_BPW * scale).astype(x_BPE.dtype)
    einsum = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    table_WE = part[0].astype(x_BPE.dtype)
    dx_BPE += einsum("BPW,WE->BPE", d_BPW, table_WE)
    return dx_BPE, (einsum("BPW,BPE->WE", d_BPW, x_BPE), dbias_W)

  dx_BPE, (dtable_WNE, dbias_WN) = jax.lax.scan(
    add, jnp.zeros(x_BPE.shape, jnp.float32), _cut(how, table_VE, bias_V)
  )
  whole = lambda d_NW: jnp.moveaxis(d_NW, 0, 1).reshape(-1, *d_NW.shape[2:])
  size = table_VE.shape[0]
  return (
    dx_BPE.astype(x_BPE.dtype),
    whole(dtable_WNE)[:size].astype(table_VE.dtype),
    whole(dbias_WN)[:size],
    None,
  )


_in_parts.defvjp(_forward, _backward)


def _cut(how, table_VE, bias_V):
  """Returns the parts of the table and the bias, and the ids in each.

  Every n-th token is in the same part, so that devices which share the vocabulary
  share each part of it.
  """
  parts, _ = how
  missing = -len(bias_V) % parts
  table_VE = jnp.pad(table_VE, [(0, missing), (0, 0)])
  bias_V = jnp.pad(bias_V, (0, missing), constant_values=-jnp.inf)
  ids_V = jnp.arange(len(bias_V))
  cut = lambda x_V: jnp.moveaxis(x_V.reshape(-1, parts, *x_V.shape[1:]), 1, 0)
  return cut(table_VE), cut(bias_V), cut(ids_V)


def _of_part(how, x_BPE, targets_BP, part):
  """Returns a part's logits, and where the target's is, [B, P, W] each."""
  _, scale = how
  table_WE, bias_W, ids_W = part
  scores = Scores(x_BPE, table_WE, bias_W, scale)
  return scores.logits_BPV, ids_W == targets_BP[..., None]
