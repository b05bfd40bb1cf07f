"""Kernels on a mesh: each device runs them on its own rows and heads."""

from collections.abc import Callable

import flax.linen as nn
import jax


def per_device(kernel: Callable, axes: tuple[str, ...]) -> Callable:
  """Returns the kernel, mapped over the mesh: XLA cannot partition it.

  Args:
    kernel: a function of q, k, v and two arrays of segment ids, of queries and
      of keys.
    axes: the logical axes of q, k and v.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return kernel
  arrays = nn.logical_to_mesh_axes(axes)
  segment_ids = nn.logical_to_mesh_axes(("batch", "length"))
  return jax.shard_map(
    kernel,
    in_specs=(arrays, arrays, arrays, segment_ids, segment_ids),
    out_specs=arrays,
    # Kernels do not declare over which axes their results vary.
    check_vma=False,
  )
