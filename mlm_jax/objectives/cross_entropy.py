"""The cross entropy of predictions, with or without all logits in memory."""

import functools

import jax
import jax.numpy as jnp

from mlm_jax.models.heads import LazyLogits

# Up to the first size, in bytes on a device, logits are kept for the gradient;
# above it they are computed twice, in chunks of about the second size.
_MAX_LOGITS, _CHUNK_SIZE = 2 << 30, 1 << 28


def cross_entropy(
  logits: LazyLogits | jax.Array, targets_BP: jax.Array, weights_BP: jax.Array
) -> dict[str, jax.Array]:
  """Returns the cross entropy in nats and the correct predictions, as sums.

  Args:
    logits: float32 [B, P, V], as for `token_losses`.
    targets_BP: the correct ids.
    weights_BP: the weight of each prediction.
  """
  return weighted_sums(*token_losses(logits, targets_BP), weights_BP)


def token_losses(
  logits: LazyLogits | jax.Array, targets_BP: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the loss of each prediction and whether it is correct, [B, P] each.

  Args:
    logits: float32 [B, P, V]. Lazy ones are computed for a chunk of the
      vocabulary at a time if there are too many.
    targets_BP: the correct ids.
  """
  if isinstance(logits, LazyLogits):
    mesh = jax.sharding.get_abstract_mesh()
    size = 4 * targets_BP.size * logits.table_VE.shape[0]
    size /= 1 if mesh.empty else mesh.size
    if size > _MAX_LOGITS:
      num_chunks = round(size / _CHUNK_SIZE)
      return in_chunks(logits, targets_BP, num_chunks)
    logits = logits.logits_BPV
  # The gradient of a gather would be a scatter into all logits.
  is_target_BPV = jnp.arange(logits.shape[-1]) == targets_BP[..., None]
  target_logits_BP = jnp.sum(logits, axis=-1, where=is_target_BPV)
  loss_BP = jax.nn.logsumexp(logits, axis=-1) - target_logits_BP
  # The loss needs the maximum anyway; an argmax costs several times as much.
  is_correct_BP = target_logits_BP >= jnp.max(logits, axis=-1)
  return loss_BP, is_correct_BP


def weighted_sums(
  loss_BP: jax.Array, is_correct_BP: jax.Array, weights_BP: jax.Array
) -> dict[str, jax.Array]:
  """Returns the sums of `cross_entropy`, of what `token_losses` returned."""
  return {
    "loss": jnp.sum(loss_BP * weights_BP),
    "accuracy": jnp.sum(is_correct_BP * weights_BP),
  }


def binary_cross_entropy(
  logits: jax.Array, labels: jax.Array, is_target: jax.Array
) -> dict[str, jax.Array]:
  """Returns the same of binary predictions; a logit above 0 predicts True.

  Args:
    logits: float32.
    labels: the correct answers, bool.
    is_target: which predictions count, bool.
  """
  signed = jnp.where(labels, logits, -logits)
  return {
    "loss": jnp.sum(jax.nn.softplus(-signed), where=is_target),
    "accuracy": jnp.sum(signed > 0, where=is_target, dtype=jnp.float32),
  }


def in_chunks(
  logits: LazyLogits, targets_BP: jax.Array, num_chunks: int
) -> tuple[jax.Array, jax.Array]:
  """Returns what `token_losses` does.

  Args:
    logits: the lazy logits.
    targets_BP: the correct ids.
    num_chunks: how many chunks of the vocabulary there are, one in memory at a
      time.
  """
  return _in_chunks(
    (num_chunks, logits.scale),
    logits.x_BPE,
    logits.table_VE,
    logits.bias_V,
    targets_BP,
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _in_chunks(settings, x_BPE, table_VE, bias_V, targets_BP):
  return _forward(settings, x_BPE, table_VE, bias_V, targets_BP)[0]


def _forward(settings, x_BPE, table_VE, bias_V, targets_BP):
  """Goes over the chunks with a running maximum and sum of exponentials."""
  num_chunks, scale = settings

  def add(so_far, chunk):
    max_BP, sum_BP, target_BP = so_far
    logits_BPW, is_target_BPW = _chunk_logits(x_BPE, scale, targets_BP, chunk)
    new_BP = jnp.maximum(max_BP, jnp.max(logits_BPW, axis=-1))
    shares_BPW = jnp.exp(logits_BPW - new_BP[..., None])
    sum_BP *= jnp.exp(max_BP - new_BP)
    sum_BP += jnp.sum(shares_BPW, axis=-1)
    target_BP += jnp.sum(logits_BPW, axis=-1, where=is_target_BPW)
    return (new_BP, sum_BP, target_BP), None

  zeros_BP = jnp.zeros(targets_BP.shape, jnp.float32)
  # Not -inf, whose difference with itself is NaN.
  first = zeros_BP - 1e30, zeros_BP, zeros_BP
  (max_BP, sum_BP, target_BP), _ = jax.lax.scan(
    add, first, _split(num_chunks, table_VE, bias_V)
  )
  log_sum_BP = max_BP + jnp.log(sum_BP)
  result = log_sum_BP - target_BP, target_BP >= max_BP
  return result, (x_BPE, table_VE, bias_V, targets_BP, log_sum_BP)


def _backward(settings, residuals, gradients):
  """Goes over them again; the gradient of logits is softmax - target."""
  x_BPE, table_VE, bias_V, targets_BP, log_sum_BP = residuals
  weights_BP, _ = gradients
  num_chunks, scale = settings

  def add(dx_BPE, chunk):
    logits_BPW, is_target_BPW = _chunk_logits(x_BPE, scale, targets_BP, chunk)
    shares_BPW = jnp.exp(logits_BPW - log_sum_BP[..., None])
    dlogits_BPW = (shares_BPW - is_target_BPW) * weights_BP[..., None]
    dbias_W = jnp.sum(dlogits_BPW, axis=(0, 1))
    d_BPW = (dlogits_BPW * scale).astype(x_BPE.dtype)
    einsum = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    table_WE = chunk[0].astype(x_BPE.dtype)
    dx_BPE += einsum("BPW,WE->BPE", d_BPW, table_WE)
    return dx_BPE, (einsum("BPW,BPE->WE", d_BPW, x_BPE), dbias_W)

  dx_BPE, (dtable_WNE, dbias_WN) = jax.lax.scan(
    add,
    jnp.zeros(x_BPE.shape, jnp.float32),
    _split(num_chunks, table_VE, bias_V),
  )
  join = lambda d_NW: jnp.moveaxis(d_NW, 0, 1).reshape(-1, *d_NW.shape[2:])
  size = table_VE.shape[0]
  return (
    dx_BPE.astype(x_BPE.dtype),
    join(dtable_WNE)[:size].astype(table_VE.dtype),
    join(dbias_WN)[:size],
    None,
  )


_in_chunks.defvjp(_forward, _backward)


def _split(num_chunks, table_VE, bias_V):
  """Returns the chunks of the table and the bias, and the ids in each.

  Every n-th token is in the same chunk, so that devices which share the
  vocabulary share each chunk of it.
  """
  missing = -len(bias_V) % num_chunks
  table_VE = jnp.pad(table_VE, [(0, missing), (0, 0)])
  bias_V = jnp.pad(bias_V, (0, missing), constant_values=-jnp.inf)
  ids_V = jnp.arange(len(bias_V))
  split = lambda x_V: jnp.moveaxis(
    x_V.reshape(-1, num_chunks, *x_V.shape[1:]), 1, 0
  )
  return split(table_VE), split(bias_V), split(ids_V)


def _chunk_logits(x_BPE, scale, targets_BP, chunk):
  """Returns a chunk's logits, and where the target's is, [B, P, W] each."""
  table_WE, bias_W, ids_W = chunk
  logits = LazyLogits(x_BPE, table_WE, bias_W, scale)
  return logits.logits_BPV, ids_W == targets_BP[..., None]
