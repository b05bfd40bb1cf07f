"""What the code that is traced is for, and how it is spread there."""

from collections.abc import Callable

import flax.linen as nn
import jax


def platform() -> str:
  """Returns "cpu", "gpu" or "tpu": of the mesh that is set, or JAX's own.

  They differ where a step is compiled for devices that are not there.
  """
  device = jax.sharding.get_abstract_mesh().abstract_device
  return device.platform if device else jax.default_backend()


def per_device(attend: Callable, axes: tuple[str, ...]) -> Callable:
  """Returns a kernel of q, k, v and both segment ids that each device runs on its
  own rows and heads: XLA cannot split what is inside.

  Args:
    attend: the kernel.
    axes: names those of q, k and v.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return attend
  arrays = nn.logical_to_mesh_axes(axes)
  segments = nn.logical_to_mesh_axes(("batch", "length"))
  return jax.shard_map(
    attend,
    in_specs=(arrays, arrays, arrays, segments, segments),
    out_specs=arrays,
    # Kernels do not say over which axes their results vary.
    check_vma=False,
  )
