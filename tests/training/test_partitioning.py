import jax
import numpy as np
import pytest

from mlm_jax.config import Config, MeshConfig
from mlm_jax.errors import InputError
from mlm_jax.training import partitioning


def mesh_of(devices=8, **sizes):
  return partitioning.make_mesh(
    Config(mesh=MeshConfig(**sizes)), jax.local_devices()[:devices]
  )


def test_mesh_axis_of_minus_one_takes_the_remaining_devices():
  assert dict(mesh_of(data=-1, tensor=2).shape) == {
    "data": 4,
    "fsdp": 1,
    "tensor": 2,
  }
  assert mesh_of(data=2, fsdp=-1).shape["fsdp"] == 4


@pytest.mark.parametrize("sizes", [{"data": 3}, {"fsdp": 3}, {"data": 16}])
def test_mesh_that_does_not_cover_the_devices_raises_input_error(sizes):
  with pytest.raises(InputError, match="does not cover 8 devices"):
    mesh_of(**sizes)


class InSlice:
  """A device that says in which slice it is."""

  device_kind, process_index, core_on_chip = "TPU v4", 0, 0

  def __init__(self, index, platform="tpu"):
    self.id, self.slice_index, self.platform = index, index // 4, platform
    self.coords = (index % 2, index // 2 % 2, 0)


def test_mesh_splits_only_rows_over_slices():
  config = Config(mesh=MeshConfig(data=4, fsdp=2))
  mesh = partitioning.make_mesh(config, [InSlice(i) for i in range(8)])
  slices = [[d.slice_index for d in row.flat] for row in mesh.devices]
  assert slices == [[0, 0], [0, 0], [1, 1], [1, 1]]
  config = Config(mesh=MeshConfig(data=1, fsdp=8))
  with pytest.raises(InputError, match="does not divide over 2 slices"):
    partitioning.make_mesh(config, [InSlice(i) for i in range(8)])


def test_weights_are_split_over_the_hosts_of_gpus(monkeypatch):
  made = []
  monkeypatch.setattr(
    jax, "make_mesh", lambda sizes, *_, **__: made.append(sizes)
  )
  config = Config(mesh=MeshConfig(data=1, fsdp=8))
  partitioning.make_mesh(config, [InSlice(i, "gpu") for i in range(8)])
  assert made == [[1, 8, 1]]


def test_sharding_error_names_the_array(make_config, make_run):
  config = make_config(
    **{"mesh.tensor": 8, "model.num_heads": 4, "model.width": 32}
  )
  with pytest.raises(
    InputError, match=r"attention/\w+/kernel .* does not divide"
  ):
    _ = make_run(config, 8).state_shardings


def test_sharding_gives_each_device_its_rows():
  mesh = mesh_of(data=2, fsdp=2, tensor=2)
  batch = {"x": np.arange(16 * 3).reshape(16, 3)}
  placed = partitioning.to_global(batch, mesh, 16)["x"]
  np.testing.assert_array_equal(placed, batch["x"])
  assert {shard.data.shape for shard in placed.addressable_shards} == {(4, 3)}
  assert partitioning.local_rows(mesh, 16) == (0, 16)
