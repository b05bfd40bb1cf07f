"""The work directory: its layout is the project's contract."""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from etils import epath

from mlm_jax import config as config_lib
from mlm_jax import phases, recipes, registry
from mlm_jax.config import Config
from mlm_jax.errors import InputError, require
from mlm_jax.phases import Phase, Recipe

# What a disk that is full, or a quota, answers.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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

  def load_recipe(self) -> Recipe:
    """Returns the recipe that the work directory is made with.

    Raises:
      InputError: there is none, or config.json is damaged.
    """
    if not self.config.exists():
      raise InputError(
        f"{self.root} is no work directory: no config.json in it"
      )
    try:
      values = json.loads(self.config.read_text())
    except json.JSONDecodeError as error:
      raise InputError(f"{self.config} is not JSON: {error}") from error
    require(
      isinstance(values, dict),
      f"{self.config} must hold a group of keys, not {values!r}",
    )
    values.pop("history", None)
    recipe_file = values.get("recipe", "")
    if recipe_file and os.path.isfile(recipe_file):
      # It may register what the values name.
      if not registry.has_registrations_from(recipe_file):
        recipes.read(recipe_file)
      return phases.from_json(values)
    try:
      return phases.from_json(values)
    except InputError as error:
      if not recipe_file:
        raise
      raise InputError(
        f"{error}; the recipe {recipe_file} may have registered it, and is "
        "missing"
      ) from error

  def load_config(self, step: int | None = None) -> Config:
    """Returns the configuration of the phase that reached `step`.

    By default it is that of the last checkpoint.
    """
    step = self.last_step if step is None else step
    return self.load_recipe().phase_at(step).config

  @property
  def last_step(self) -> int:
    """Returns the step of the last checkpoint, 0 where there is none."""
    if not self.checkpoints.exists():
      return 0
    names = [path.name for path in self.checkpoints.iterdir()]
    return max((int(name) for name in names if name.isdigit()), default=0)

  def trained_length(self, step: int) -> int:
    """Returns the longest text, in tokens, that a checkpoint can make sense of.

    Learned positions past the longest rows are as random as they began, but
    for those of an imported model.
    """
    recipe, before = self.load_recipe(), 0
    longest = recipe.base.model.max_positions
    if recipe.base.model.position_kind != "learned":
      return longest
    if self.origin.exists():
      before = json.loads(self.origin.read_text()).get("max_tokens", longest)
    last = recipe.phases.index(recipe.phase_at(step))
    lengths = [p.config.data.seq_len for p in recipe.phases[: last + 1]]
    return max(before, *lengths) if step or not before else before

  def adapt(self, recipe: Recipe) -> tuple[Recipe, dict[str, tuple]]:
    """Returns a recipe for the imported model, if the work directory has one.

    Its optimizer, schedule, corruption and data stay; what shapes the weights,
    and what they compute, is the imported model's.

    Returns:
      The recipe, and the (imported, recipe's) values of the keys replaced.
    """
    if not self.origin.exists():
      return recipe, {}
    old = self.load_recipe().base
    base, kept = config_lib.continued(old, recipe.base)
    diffs = {}
    for name, diff in recipe.diffs.items():
      diffs[name], of_phase = config_lib.continued_diff(base, diff)
      kept |= {f"phases.{name}.{key}": pair for key, pair in of_phase.items()}
    return Recipe(base, diffs, recipe.path), kept

  def check(self, recipe: Recipe) -> None:
    """Raises InputError where a recipe cannot continue what is already there.

    Phases that have begun keep their names, and those that have ended their
    lengths. Which keys may change is the scope's of each.
    """
    if not self.config.exists():
      return
    old, step = self.load_recipe(), self.last_step
    recipe = self.with_ends(recipe)
    require(
      step <= recipe.last_step,
      f"{self.root} is at step {step}, past train.steps={recipe.last_step}, "
      "the recipe's last",
    )
    for before, after in zip(old.phases, recipe.phases, strict=False):
      if 0 < before.first_step >= step:
        return  # It has not begun.
      require(
        step == 0 or before.name == after.name,
        f"{self.root} has trained phase {before.name!r}, where this recipe has "
        f"{after.name!r}: choose another --workdir",
      )
      require(
        step <= before.last_step or before.last_step == after.last_step,
        f"phase {before.name!r} of {self.root} has ended at step "
        f"{before.last_step:,}: its train.steps cannot change any more",
      )
      _check_hours(before, after, step)
      done = min(step, before.last_step) - before.first_step
      require(
        not after.config.train.tokens
        or before.config.timeline.rows_before(done)
        == after.config.timeline.rows_before(done),
        f"phase {before.name!r} of {self.root} is {done:,} steps old: batches "
        "of another size need a length in train.steps, as some of its "
        "train.tokens are trained on",
      )
      old_config = before.config
      if step == 0 and self.origin.exists():
        # An imported model has no optimizer's state yet.
        old_config = dataclasses.replace(old_config, optim=after.config.optim)
      try:
        config_lib.may_follow(old_config, after.config, "restart")
      except InputError as error:
        raise InputError(f"{self.root}: {error}") from error

  def with_ends(self, recipe: Recipe) -> Recipe:
    """Returns a recipe that knows where phases in hours have ended here.

    Ends that no checkpoint has reached any more are forgotten.
    """
    if not self.config.exists():
      return recipe
    ends, last = {**self.load_recipe().ends, **recipe.ends}, self.last_step
    ends = {name: end for name, end in ends.items() if end <= last}
    return dataclasses.replace(recipe, ends=ends)

  def changed(self, recipe: Recipe) -> dict[str, tuple]:
    """Returns the keys whose values are others than here: (old, new).

    Keys that a phase sets are called phases.NAME.KEY.
    """
    if not self.config.exists():
      return {}
    old, new = (
      config_lib.flat(one.base) | one.phase_keys()
      for one in (self.load_recipe(), recipe)
    )
    return {
      key: (old.get(key), new.get(key))
      for key in [*new, *(key for key in old if key not in new)]
      if old.get(key) != new.get(key)
    }

  def save_config(self, config: Config) -> None:
    """Writes config.json, of one phase."""
    self.save_recipe(Recipe(config))

  def save_recipe(self, recipe: Recipe) -> None:
    """Writes config.json, with a history of what changed in mid-run."""
    self.make()
    values, step = self.with_ends(recipe).to_json(), self.last_step
    history = self.history()
    changed = self.changed(recipe)
    if step and changed:
      history.append({"step": step, "changed": changed})
    if history:
      values["history"] = history
    write_atomically(self.config, json.dumps(values, indent=2) + "\n")

  def history(self) -> list[dict[str, Any]]:
    """Returns the changes of keys in mid-run, oldest first.

    Each has the "step" from which it holds, and what "changed": a dict from the
    key to its [old, new] value, None where a phase did not set it.
    """
    if not self.config.exists():
      return []
    return json.loads(self.config.read_text()).get("history", [])


def _check_hours(before: Phase, after: Phase, step: int) -> None:
  """Checks that the schedule of a phase that has begun keeps its hours."""
  old, new = before.config.train.hours, after.config.train.hours
  require(
    not old or step <= before.first_step or new in (0, old),
    f"phase {before.name!r} has begun with a schedule of train.hours={old}, "
    f"which cannot become {new}: once it has ended, give its length, "
    f"train.steps={min(step, before.last_step) - before.first_step}, and "
    "append a phase",
  )


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
  # A random name, for several processes may write the same file at once.
  partial = path.parent / f"{path.name}.partial-{uuid.uuid4().hex[:8]}"
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
  except OSError as error:
    # An error about another file than ours is the caller's.
    if error.errno not in _NO_SPACE:
      raise
    raise InputError(
      f"cannot write {name or path}: {error.strerror}"
    ) from error
  finally:
    if partial.exists():
      partial.unlink()


@contextlib.contextmanager
def alone(path: epath.Path, line: str, say: Callable) -> Iterator[None]:
  """Waits until no other process of this user and machine works on a path.

  Args:
    path: a file or folder, which need not be there. A remote one is not
      guarded: there are no locks.
    line: what is said where there is someone to wait for.
    say: called with it.
  """
  if "://" in str(path):
    yield
    return
  name = hashlib.sha256(os.path.realpath(path).encode()).hexdigest()
  lock = epath.Path(tempfile.gettempdir()) / f"mlm_jax-{os.getuid()}" / name
  lock.parent.mkdir(parents=True, exist_ok=True)
  with lock.open("w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      say(line)
      fcntl.flock(file, fcntl.LOCK_EX)
    yield  # The lock ends with the file, or the process.


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
    is_ours = str(partial) in f"{error.filename}{error.filename2}"
    if not is_ours and error.errno not in _NO_SPACE:
      raise
    raise InputError(f"cannot write {folder}: {error}") from error
  finally:
    if partial.exists():
      partial.rmtree()
