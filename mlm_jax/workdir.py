"""The work directory: what lies where. This layout is the project's contract."""

import contextlib
import dataclasses
import json
import os
import uuid
from collections.abc import Iterator
from typing import BinaryIO

from etils import epath

from mlm_jax import config as config_lib
from mlm_jax.config import Config
from mlm_jax.errors import InputError, require

# What the tokenizer and the weights in a work directory were made for: these
# keys, and all of the model's but for those that shape nothing that is kept.
_FIXED = (
  *("objective.name", "objective.generator_share", "objective.span_boundary"),
  "corruption.sentence_pairs",
  "optim.name",
  *("data.tokenizer", "data.vocab_size", "data.lowercase"),
  "data.num_sentinels",
)
_FREE = (
  *("model.embedding_dropout", "model.attention_dropout", "model.mlp_dropout"),
  *("model.dtype", "model.attention", "model.remat", "model.scan_layers"),
)


@dataclasses.dataclass(frozen=True)
class Workdir:
  """Paths under `root`, which may be local or gs://."""

  root: epath.Path

  @classmethod
  def at(cls, path) -> "Workdir":
    if "://" not in str(path):
      path = os.path.abspath(os.path.expanduser(path))
    root = epath.Path(path)
    require(not root.exists() or root.is_dir(), f"--workdir={root} is a file")
    return cls(root)

  @property
  def config(self) -> epath.Path:
    return self.root / "config.json"

  @property
  def tokenizer(self) -> epath.Path:
    return self.root / "tokenizer"

  @property
  def origin(self) -> epath.Path:
    return self.root / "imported.json"

  @property
  def rows(self) -> epath.Path:
    return self.root / "rows"

  @property
  def checkpoints(self) -> epath.Path:
    return self.root / "checkpoints"

  @property
  def metrics(self) -> epath.Path:
    return self.root / "metrics.jsonl"

  @property
  def tensorboard(self) -> epath.Path:
    return self.root / "tensorboard"

  def make(self) -> None:
    """Makes the folder; raises InputError where there can be none."""
    try:
      self.root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
      raise InputError(
        f"cannot make --workdir={self.root}: {error.strerror}"
      ) from error

  def load_config(self) -> Config:
    if not self.config.exists():
      raise InputError(
        f"{self.root} is no work directory: no config.json in it"
      )
    try:
      return config_lib.build(json.loads(self.config.read_text()))
    except json.JSONDecodeError as error:
      raise InputError(f"{self.config} is not JSON: {error}") from error

  def check(self, config: Config) -> None:
    """Raises InputError where `config` does not fit what is already there."""
    for key, (old, new) in self.changed(config).items():
      if key in _FIXED or (key.startswith("model.") and key not in _FREE):
        raise InputError(
          f"{self.root} was made with {key}={old!r}, not {new!r}: "
          "choose another --workdir, or the value it was made with"
        )

  def changed(self, config: Config) -> dict[str, tuple]:
    """Returns the keys whose values are others than here: (old, new)."""
    if not self.config.exists():
      return {}
    old, new = map(config_lib.flat, (self.load_config(), config))
    return {key: (old[key], new[key]) for key in new if old[key] != new[key]}

  def save_config(self, config: Config) -> None:
    self.make()
    text = json.dumps(dataclasses.asdict(config), indent=2) + "\n"
    write_atomically(self.config, text)


def write_atomically(path: epath.Path, text: str) -> None:
  """Replaces a file's content; readers see all of the old or all of the new."""
  with atomic_file(path) as file:
    file.write(text.encode())


@contextlib.contextmanager
def atomic_file(path: epath.Path, name: str = "") -> Iterator[BinaryIO]:
  """Yields a binary file that replaces `path` once it is written and closed.

  Args:
    path: the file; missing folders are created.
    name: how error messages call it; by default its path.

  Raises:
    InputError: the file cannot be created.
  """
  partial = path.parent / f"{path.name}.partial"
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = partial.open("wb")
  except OSError as error:
    reason = error.strerror or error
    raise InputError(f"cannot write {name or path}: {reason}") from error
  try:
    with file:
      yield file
    partial.replace(path)
  finally:
    if partial.exists():
      partial.unlink()


@contextlib.contextmanager
def atomic_folder(folder: epath.Path) -> Iterator[epath.Path]:
  """Yields a temporary folder that is renamed to `folder` once it is filled.

  On an error the temporary folder is removed. A caller that removes it itself
  (because another process has finished the same work) leaves `folder` alone.

  Raises:
    InputError: `folder` exists and is not empty, or cannot be written.
  """
  require(
    not folder.exists() or (folder.is_dir() and not any(folder.iterdir())),
    f"{folder} already exists",
  )
  # A random name, for several processes may prepare the same folder at once.
  partial = folder.parent / f"{folder.name}.partial-{uuid.uuid4().hex[:8]}"
  try:
    partial.mkdir(parents=True)
    yield partial
    if partial.exists():
      if folder.exists():
        folder.rmdir()
      partial.rename(folder)
  except OSError as error:
    # An error about another file than ours is the caller's.
    if str(partial) not in f"{error.filename}{error.filename2}":
      raise
    raise InputError(f"cannot write {folder}: {error}") from error
  finally:
    if partial.exists():
      partial.rmtree()
