import jax
import numpy as np
import pytest

from mlm_jax.config import Config, MeshConfig
from mlm_jax.errors import InputError
from mlm_jax.training import partitioning


def mesh_of(devices=8, **sizes):
  return partitioning.make_mesh(
    Config(mesh=MeshConfig(**sizes)), jax.devices()[:devices]
  )


def test_minus_one_takes_the_rest():
  assert dict(mesh_of(data=-1, tensor=2).shape) == {
    **{"data": 4, "fsdp": 1, "tensor": 2}
  }
  assert mesh_of(data=2, fsdp=-1).shape["fsdp"] == 4


@pytest.mark.parametrize("sizes", [{"data": 3}, {"fsdp": 3}, {"data": 16}])
def test_a_mesh_that_does_not_cover_the_devices_is_refused(sizes):
  with pytest.raises(InputError, match="does not cover 8 devices"):
    mesh_of(**sizes)


def test_an_array_that_does_not_divide_is_named(make_config, make_run):
  config = make_config(
    **{"mesh.tensor": 8, "model.num_heads": 4, "model.width": 32}
  )
  with pytest.raises(
    InputError, match=r"attention/\w+/kernel .* does not divide"
  ):
    _ = make_run(config, 8).state_shardings


def test_each_device_gets_its_rows():
  mesh = mesh_of(data=2, fsdp=2, tensor=2)
  batch = {"x": np.arange(16 * 3).reshape(16, 3)}
  placed = partitioning.to_global(batch, mesh, 16)["x"]
  np.testing.assert_array_equal(placed, batch["x"])
  assert {shard.data.shape for shard in placed.addressable_shards} == {(4, 3)}
  assert partitioning.local_rows(mesh, 16) == (0, 16)
