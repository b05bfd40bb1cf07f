"""Where arrays live: the mesh, and one table from axis names to its axes."""

import contextlib
import functools
import math

import flax.linen as nn
import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mlm_jax.config import Config, MeshConfig
from mlm_jax.errors import InputError, require

# Logical axis -> mesh axes. Parameters and activations name the left column.
RULES = (
  ("batch", ("data", "fsdp")),
  ("length", None),
  ("embed", "fsdp"),
  ("heads", "tensor"),
  ("kv", None),
  ("mlp", "tensor"),
  ("vocab", "tensor"),
  ("norm", None),
)


# Seconds: a large corpus takes days to prepare.
_FOREVER = 30 * 86_400


def make_mesh(config: Config, devices=None) -> Mesh:
  """Returns the mesh (data, fsdp, tensor) over all devices, or those given.

  Raises:
    InputError: the sizes do not multiply to the number of devices, or a
      micro-batch does not divide over them, or the data axis over slices.
  """
  mesh, train = config.mesh, config.train
  devices = jax.devices() if devices is None else devices
  sizes = mesh_sizes(mesh, len(devices))
  require(
    math.prod(sizes) == len(devices),
    f"mesh data x fsdp x tensor = {mesh.data} x {mesh.fsdp} x {mesh.tensor} "
    f"does not cover {len(devices)} devices",
  )
  ways = sizes[0] * sizes[1]
  for size in config.timeline.batch_sizes:
    microbatches = train.microbatches_of(size)
    name = "train.batch_size"
    if size != train.batch_size:
      name = f"train.initial_batch_size={train.initial_batch_size}: a batch"
    require(
      size % (microbatches * ways) == 0,
      f"{name}={size} does not divide over {microbatches} micro-batches x "
      f"{ways} data and fsdp devices",
    )
  axes, kinds = ("data", "fsdp", "tensor"), (AxisType.Auto,) * 3
  # TPU slices are joined by a slower network: only rows are split over it.
  # (A GPU's slice_index is its host.)
  slices = 1
  if devices[0].platform == "tpu":
    slices = len({getattr(device, "slice_index", 0) for device in devices})
  if slices == 1:
    return jax.make_mesh(sizes, axes, kinds, devices=devices)
  require(
    sizes[0] % slices == 0,
    f"mesh.data={sizes[0]} does not divide over {slices} slices",
  )
  within = (sizes[0] // slices, *sizes[1:])
  by_place = mesh_utils.create_hybrid_device_mesh(
    within, (slices, 1, 1), devices, allow_split_physical_axes=True
  )
  return Mesh(by_place, axes, kinds)


def mesh_sizes(mesh: MeshConfig, devices: int) -> list[int]:
  """Returns data, fsdp and tensor, with the rest where one of them is -1."""
  sizes = [mesh.data, mesh.fsdp, mesh.tensor]
  if -1 in sizes:
    sizes[sizes.index(-1)] = devices // -math.prod(sizes)
  return sizes


@contextlib.contextmanager
def on(mesh: Mesh):
  """Within, logical constraints in traced code mean this mesh."""
  with jax.set_mesh(mesh), nn.logical_axis_rules(RULES):
    yield


def shardings(boxed, mesh: Mesh):
  """Returns the sharding of each array of a tree of named-axes boxes.

  Raises:
    InputError: an array does not divide over the mesh.
  """
  specs = nn.get_partition_spec(boxed)
  placed = nn.logical_to_mesh_sharding(specs, mesh, RULES)

  def check(path, leaf, sharding):
    try:
      sharding.shard_shape(leaf.shape)
    except ValueError as error:
      name = jax.tree_util.keystr(path, simple=True, separator="/")
      raise InputError(
        f"{name} {leaf.shape} does not divide over the mesh {dict(mesh.shape)}"
      ) from error

  jax.tree.map_with_path(check, nn.unbox(boxed), placed)
  return placed


def wait_for_all(name: str) -> None:
  """Returns once every process is here, however long that takes."""
  if jax.process_count() > 1:
    # With processes named, Orbax asks the coordinator: a collective of the
    # devices would time out within minutes.
    ocp.multihost.sync_global_processes(
      name, timeout=_FOREVER, processes=set(range(jax.process_count()))
    )


def batch_sharding(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


@functools.cache  # Called at every step.
def local_rows(mesh: Mesh, batch_size: int) -> tuple[int, int]:
  """Returns the rows of the global batch that this process's devices hold."""
  slices = batch_sharding(mesh).addressable_devices_indices_map((batch_size,))
  bounds = [rows.indices(batch_size) for (rows,) in slices.values()]
  return min(b[0] for b in bounds), max(b[1] for b in bounds)


def to_global(batch: dict[str, np.ndarray], mesh: Mesh, batch_size: int):
  """Returns global arrays of a batch whose `local_rows` this process has."""
  sharding = batch_sharding(mesh)
  first, _ = local_rows(mesh, batch_size)

  def place(local):
    def shard(index):
      rows = index[0].indices(batch_size)
      return local[rows[0] - first : rows[1] - first]

    shape = (batch_size, *local.shape[1:])
    return jax.make_array_from_callback(shape, sharding, shard)

  return jax.tree.map(place, batch)
