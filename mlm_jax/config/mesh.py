"""`mesh.*`: how devices are arranged."""

import dataclasses

from mlm_jax.config.key import check_keys, key
from mlm_jax.errors import require


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Devices along each axis of the mesh; one of them may be -1, the rest."""

  # fmt: off
  data: int = key(-1,
    "Devices that split the batch (data parallelism). -1 is all that the other "
    "axes leave.",
    scope="devices", at_least=-1)
  fsdp: int = key(1,
    "Devices that split the batch and the weights (FSDP).",
    scope="devices", at_least=-1)
  tensor: int = key(1,
    "Devices that split heads, mlp_width and vocabulary (tensor parallelism).",
    scope="devices", at_least=-1)
  # fmt: on

  def __post_init__(self):
    check_keys(self, "mesh.")
    sizes = (self.data, self.fsdp, self.tensor)
    require(
      sizes.count(-1) <= 1 and all(s == -1 or s > 0 for s in sizes),
      f"mesh sizes must be positive, one of them -1 at most, not {sizes}",
    )
