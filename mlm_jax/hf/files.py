"""The files of a model folder: config.json and safetensors. Never a pickle."""

import contextlib
import json
import os
import pathlib
import uuid
from collections.abc import Iterator, Mapping

import numpy as np
from etils import epath
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mlm_jax.errors import InputError, require
from mlm_jax.hf.family import Values

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"


@contextlib.contextmanager
def made_whole(folder: epath.Path) -> Iterator[epath.Path]:
  """Yields a folder to write into; it becomes `folder` when all is written.

  Raises:
    InputError: something is there, or it cannot be written.
  """
  require(
    not folder.exists() or (folder.is_dir() and not any(folder.iterdir())),
    f"{folder} is there already",
  )
  partial = folder.parent / f"{folder.name}.partial-{uuid.uuid4().hex[:8]}"
  try:
    partial.mkdir(parents=True)
    yield partial
    if folder.exists():
      folder.rmdir()
    partial.rename(folder)
  except OSError as error:
    # What is read while it is open has errors of its own.
    if str(partial) not in f"{error.filename}{error.filename2}":
      raise
    raise InputError(f"cannot write {folder}: {error}") from error
  finally:
    if partial.exists():
      partial.rmtree()


def read_config(folder: pathlib.Path) -> Values:
  """Returns a folder's config.json.

  Raises:
    InputError: there is none, or it is no JSON object.
  """
  path = folder / "config.json"
  require(path.is_file(), f"{folder} is no model: no config.json in it")
  return _read_object(path)


def _read_object(path: pathlib.Path) -> Values:
  try:
    values = json.loads(path.read_text())
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise InputError(f"{path} is not JSON: {error}") from error
  require(isinstance(values, dict), f"{path} is not a JSON object")
  return values


def write_config(folder: pathlib.Path, values: Values) -> None:
  text = json.dumps(values, indent=2, sort_keys=True) + "\n"
  (folder / "config.json").write_text(text)


class Weights(Mapping[str, np.ndarray]):
  """The tensors of a folder, read from its safetensors files one by one.

  Args:
    folder: holds model.safetensors, or several files and their index.

  Raises:
    InputError: there are none, or a file is not what it says.
  """

  def __init__(self, folder: pathlib.Path):
    paths = [folder / _WEIGHTS]
    if not paths[0].is_file():
      if not (folder / _INDEX).is_file():
        raise _no_weights(folder)
      files = _read_object(folder / _INDEX).get("weight_map", {}).values()
      paths = [folder / pathlib.Path(name).name for name in sorted(set(files))]
    self._files = {}
    for path in paths:
      require(path.is_file(), f"{path} is missing, though {_INDEX} names it")
      try:
        file = safe_open(path, framework="flax")
      except SafetensorError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
      self._files.update(dict.fromkeys(file.keys(), file))

  def __getitem__(self, name: str) -> np.ndarray:
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
  # "pt" is what transformers expects of a file's axes.
  save_file(dict(tensors), path, metadata={"format": "pt"})
  # safetensors lets the owner alone read it.
  os.chmod(path, os.stat(folder / "config.json").st_mode)


def _no_weights(folder) -> InputError:
  pickles = sorted(folder.glob("*.bin")) + sorted(folder.glob("*.pt"))
  found = f"has no {_WEIGHTS}"
  if pickles:
    found = f"has {pickles[0].name}, a pickle, but no {_WEIGHTS}"
  return InputError(
    f"{folder} {found}. Pickles could run any code, and are never read: "
    "convert one where you trust it, with transformers' "
    "AutoModelForMaskedLM.from_pretrained(...).save_pretrained(...)"
  )
