"""Reads and writes a model folder's config.json and safetensors, no pickles."""

import json
import os
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mlm_jax.errors import InputError, require
from mlm_jax.hf.families.base import Values

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"


def read_config(folder: pathlib.Path) -> Values:
  """Returns the values of a folder's config.json.

  Raises:
    InputError: the file is missing, or is not a JSON object.
  """
  path = folder / "config.json"
  require(
    path.is_file(), f"{folder} is not a model folder: it has no config.json"
  )
  return _read_object(path)


def _read_object(path: pathlib.Path) -> Values:
  try:
    values = json.loads(path.read_text())
  except (OSError, ValueError, RecursionError) as error:
    raise InputError(f"{path} is not JSON: {error}") from error
  require(isinstance(values, dict), f"{path} is not a JSON object")
  return values


def write_config(folder: pathlib.Path, values: Values) -> None:
  text = json.dumps(values, indent=2, sort_keys=True) + "\n"
  (folder / "config.json").write_text(text)


def json_bytes(values: Values) -> bytes:
  """Returns indented JSON in UTF-8, keys in their order."""
  text = json.dumps(values, indent=2, ensure_ascii=False)
  return (text + "\n").encode()


class Weights(Mapping[str, np.ndarray]):
  """The tensors of a folder's safetensors files, each read when looked up.

  Args:
    folder: has model.safetensors, or several files and their index.

  Raises:
    InputError: there are no such files, or one of them cannot be read.
  """

  def __init__(self, folder: pathlib.Path):
    paths = [folder / _WEIGHTS]
    if not paths[0].is_file():
      if not (folder / _INDEX).is_file():
        raise _no_weights(folder)
      names = _read_object(folder / _INDEX).get("weight_map")
      require(
        isinstance(names, dict)
        and all(isinstance(name, str) for name in names.values()),
        f"{folder / _INDEX} has no weight_map of file names",
      )
      paths = [
        folder / pathlib.Path(name).name for name in sorted({*names.values()})
      ]
    self._files, self._read = {}, set()
    for path in paths:
      require(path.is_file(), f"{path} is missing, but listed in {_INDEX}")
      try:
        file = safe_open(path, framework="flax")
      except SafetensorError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
      self._files.update(dict.fromkeys(file.keys(), file))

  def shape(self, name: str) -> tuple[int, ...]:
    """Returns the shape of a tensor, which is not read."""
    return tuple(self._files[name].get_slice(name).get_shape())

  @property
  def unread(self) -> set[str]:
    """The names of tensors that were never looked up."""
    return set(self._files) - self._read

  def __getitem__(self, name: str) -> np.ndarray:
    self._read.add(name)
    return np.asarray(self._files[name].get_tensor(name)).astype(
      np.float32, copy=False
    )

  def __iter__(self) -> Iterator[str]:
    return iter(self._files)

  def __len__(self) -> int:
    return len(self._files)


def write_weights(
  folder: pathlib.Path, tensors: Mapping[str, np.ndarray]
) -> None:
  path = folder / _WEIGHTS
  # transformers requires this, though the tensors are not PyTorch's.
  save_file(dict(tensors), path, metadata={"format": "pt"})
  # safetensors makes the file readable by its owner only.
  os.chmod(path, os.stat(folder / "config.json").st_mode)


def _no_weights(folder) -> InputError:
  pickles = sorted(folder.glob("*.bin")) + sorted(folder.glob("*.pt"))
  found = f"has no {_WEIGHTS}"
  if pickles:
    found = f"has {pickles[0].name}, a pickle, but no {_WEIGHTS}"
  return InputError(
    f"{folder} {found}. Pickles can run arbitrary code and are never read; "
    "convert one that you trust with transformers' "
    "AutoModelForMaskedLM.from_pretrained(...).save_pretrained(...)"
  )
