"""Matmuls count as often as they run, in loops, branches and kernels."""

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.sharding import PartitionSpec

from mlm_jax.tools.flop_count import count

X, Y = jnp.ones([4, 8]), jnp.ones([8, 16])
DOT = 2 * 4 * 8 * 16


def flops(function, *arrays):
  return count(jax.make_jaxpr(function)(*arrays))


def test_plain_and_called_matmuls():
  assert flops(lambda x, y: x @ y, X, Y) == (DOT, 0, 0)
  twice = lambda x, y: (
    jax.jit(jnp.matmul)(x, y) + jax.checkpoint(jnp.matmul)(x, y)
  )
  assert flops(twice, X, Y).all == 2 * DOT


def test_scan_counts_each_iteration():
  def loop(x, y):
    return jax.lax.scan(lambda c, _: (c, x @ y), None, length=5)[1]

  assert flops(loop, X, Y) == (5 * DOT, 0, 4 * DOT)


def test_cond_counts_the_longest_branch():
  def either(x, y):
    three = lambda: x @ y + x @ y + x @ y
    return jax.lax.cond(x[0, 0] > 0, three, lambda: x @ y)

  assert flops(either, X, Y).all == 3 * DOT


def test_a_pallas_kernel_counts_once_per_grid_point():
  def kernel(x, y, out):
    out[...] = x[...] @ y[...]

  call = pl.pallas_call(
    kernel, grid=(3, 2), out_shape=jax.ShapeDtypeStruct((4, 16), X.dtype)
  )
  assert flops(call, X, Y) == (6 * DOT, 6 * DOT, 0)


def test_shard_map_counts_once_per_device():
  mesh = jax.make_mesh((8,), ("x",))
  spec = PartitionSpec()
  each = jax.shard_map(
    jnp.matmul, mesh=mesh, in_specs=(spec, spec), out_specs=spec
  )
  assert flops(each, X, Y).all == 8 * DOT
