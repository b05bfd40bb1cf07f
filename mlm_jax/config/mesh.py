"""`mesh.*`: how devices are arranged."""

import dataclasses

from mlm_jax.config.checks import check_types
from mlm_jax.errors import require


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  # Devices along each axis of the mesh; one of them may be -1, for the rest.
  data: int = -1  # splits the batch
  fsdp: int = 1  # splits the batch and the weights
  tensor: int = 1  # splits heads, MLP width and vocabulary

  def __post_init__(self):
    check_types(self, "mesh")
    sizes = (self.data, self.fsdp, self.tensor)
    require(
      sizes.count(-1) <= 1 and all(s == -1 or s > 0 for s in sizes),
      f"mesh sizes must be positive, one of them -1 at most, not {sizes}",
    )
