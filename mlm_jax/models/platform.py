"""The platform that code is traced for."""

import jax


def platform() -> str:
  """Returns "cpu", "gpu" or "tpu": the current mesh's, else JAX's default.

  They differ where a step is compiled for devices that are not attached.
  """
  device = jax.sharding.get_abstract_mesh().abstract_device
  return device.platform if device else jax.default_backend()
