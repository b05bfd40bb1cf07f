"""The work directory: what lies where. This layout is the project's contract."""

import dataclasses
import json
import os

from etils import epath

from mlm_jax import config as config_lib
from mlm_jax.config import Config
from mlm_jax.errors import InputError, require


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
    if not self.config.exists():
      return
    try:
      config_lib.may_follow(self.load_config(), config, "restart")
    except InputError as error:
      raise InputError(f"{self.root}: {error}") from error

  def changed(self, config: Config) -> dict[str, tuple]:
    """Returns the keys whose values are others than here: (old, new)."""
    if not self.config.exists():
      return {}
    return config_lib.changed(self.load_config(), config)

  def save_config(self, config: Config) -> None:
    self.make()
    text = json.dumps(dataclasses.asdict(config), indent=2) + "\n"
    write_atomically(self.config, text)


def write_atomically(path: epath.Path, text: str) -> None:
  """Writes `text` so that no reader ever sees half of it."""
  partial = path.parent / (path.name + ".partial")
  partial.write_text(text)
  partial.replace(path)
