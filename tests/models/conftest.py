"""Devices that tests trace for without having them."""

import jax
import jax.extend.backend
import pytest

from mlm_jax.models import attention
from mlm_jax.models.attention import cudnn, splash, tokamax
from tests.models.attention_cases import H100, OLDER_GPU


@pytest.fixture
def trace_for(monkeypatch):
  """Returns a function that has code traced for a kind of device: "cpu", "tpu",
  "gpu" (a Hopper GPU) or "older gpu"."""

  def trace_for(device):
    is_hopper = device == "gpu"
    for module in (attention, splash, cudnn, tokamax):
      monkeypatch.setattr(module, "platform", lambda: device.split()[-1])
    patches = {
      "check_cudnn_version": lambda: 91000,
      "check_compute_capability": lambda _: is_hopper,
      "is_cuda_compute_capability_equal": lambda _: False,
    }
    for name, patch in patches.items():
      monkeypatch.setattr(cudnn.fused, name, patch)
    gpu = H100 if is_hopper else OLDER_GPU
    monkeypatch.setattr(jax.extend.backend, "get_default_device", lambda: gpu)

  return trace_for
