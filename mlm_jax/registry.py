"""Tables of what a configuration may name: each name and what it stands for.

The package's own entries are imported when they are first looked up, so that
the names are known without JAX or TensorFlow. A recipe file may register more:

    from mlm_jax import registry

    @registry.SCHEDULES.register("triangle")
    def triangle(optim, steps): ...
"""

import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlm_jax.errors import InputError, unknown


class Table(Mapping[str, Any]):
  """Entries by name, in the order of their registration.

  Args:
    key: the configuration key whose values the names are.
    builtin: the package's own entries, each "module:attribute".
    renamed: former names of entries, and what they are called now.
    attributes: what an entry must have, which is then a class; without, an
      entry is a function.
  """

  def __init__(
    self,
    key: str,
    builtin: Mapping[str, str],
    renamed: Mapping[str, str] | None = None,
    attributes: tuple[str, ...] = (),
  ):
    self.key = key
    self._attributes = attributes
    self._renamed = renamed or {}
    self._entries: dict[str, Any] = dict(builtin)
    self._unloaded = set(builtin)
    self._registered_by: dict[str, str] = {}

  def __getitem__(self, name: str) -> Any:
    """Returns the entry called `name`.

    Raises:
      InputError: there is none; suggests the new or the closest name.
    """
    self.check(name)
    if name in self._unloaded:
      module, _, attribute = self._entries[name].partition(":")
      entry = getattr(importlib.import_module(module), attribute)
      self._entries[name] = entry
      self._unloaded.discard(name)
    return self._entries[name]

  def check(self, name: str) -> None:
    """Raises the InputError of `__getitem__`, without importing the entry."""
    if name in self._entries:
      return
    if name in self._renamed:
      raise InputError(
        f"{self.key}={name!r} is now called {self._renamed[name]!r}"
      )
    raise unknown(self.key, name, self._entries)

  def __contains__(self, name: object) -> bool:
    return name in self._entries

  def __iter__(self) -> Iterator[str]:
    return iter(self._entries)

  def __len__(self) -> int:
    return len(self._entries)

  def _flaw(self, entry: Any) -> str:
    """Returns what is wrong with an entry, or ""."""
    if not self._attributes:
      return "" if callable(entry) else f"{entry!r} is not a function"
    if not isinstance(entry, type):
      return f"{entry!r} is not a class"
    missing = [name for name in self._attributes if not hasattr(entry, name)]
    if inspect.isabstract(entry):
      missing += sorted(entry.__abstractmethods__)
    lacks = f"the class {entry.__name__} lacks {', '.join(missing)}"
    return lacks if missing else ""

  def register(self, name: str, entry: Any = None) -> Callable[[Any], Any]:
    """Adds an entry, also as a decorator: `@TABLE.register("name")`.

    Raises:
      InputError: the name is taken, or the entry is not what the table holds.
    """
    if entry is None:
      return lambda entry: self.register(name, entry)
    if name in self._entries:
      owner = self._registered_by.get(name, "mlm_jax")
      raise InputError(
        f"{self.key}={name!r} is already registered by {owner}: choose another "
        "name"
      )
    if flaw := self._flaw(entry):
      raise InputError(f"cannot register {self.key}={name!r}: {flaw}")
    self._entries[name] = entry
    self._registered_by[name] = _registering_file or "this program"
    return entry

  def present_name(self, name: str) -> str:
    """Returns what an entry that was renamed is called now."""
    return name if name in self else self._renamed.get(name, name)

  def registered_by(self, name: str) -> str | None:
    """Returns the recipe file that registered a name; None for built-ins."""
    return self._registered_by.get(name)

  def forget(self, path: str) -> None:
    """Removes what the recipe file at `path` registered."""
    for name, owner in list(self._registered_by.items()):
      if owner == path:
        del self._entries[name], self._registered_by[name]


def has_registrations_from(path: str) -> bool:
  """Returns whether the recipe file at `path` has registered anything."""
  return any(
    table.registered_by(name) == path for table in TABLES for name in table
  )


_registering_file: str | None = None


@contextlib.contextmanager
def registrations_from(path: str) -> Iterator[None]:
  """Within, registrations belong to the recipe file at `path`.

  What it registered before is forgotten first: a recipe may be read again.
  """
  global _registering_file
  for table in TABLES:
    table.forget(path)
  outer, _registering_file = _registering_file, path
  try:
    yield
  finally:
    _registering_file = outer


_CORRUPTION = "mlm_jax.data.corruption"
CORRUPTIONS = Table(
  "corruption.kind",
  {
    "token_masking": f"{_CORRUPTION}.token_masking:TokenMasking",
    "whole_words": f"{_CORRUPTION}.whole_words:WholeWords",
    "spans": f"{_CORRUPTION}.spans:Spans",
    "uniform_mask_rate": f"{_CORRUPTION}.uniform_mask_rate:UniformMaskRate",
    "next_token": f"{_CORRUPTION}.next_token:NextToken",
    "prefix": f"{_CORRUPTION}.prefix:Prefix",
    "span_corruption": f"{_CORRUPTION}.span_corruption:SpanCorruption",
    "bart": f"{_CORRUPTION}.bart:Bart",
    "mass": f"{_CORRUPTION}.mass:Mass",
    "cmlm": f"{_CORRUPTION}.cmlm:ConditionalMasking",
  },
  renamed={
    "uniform_masking": "uniform_mask_rate",
    "denoising": "bart",
    "fragment": "mass",
    "conditional_masking": "cmlm",
  },
  attributes=("task", "fields", "corrupt", "check"),
)

OBJECTIVES = Table(
  "objective.name",
  {
    "mlm": "mlm_jax.objectives.mlm:MaskedLanguageModelling",
    "rtd": "mlm_jax.objectives.rtd:ReplacedTokenDetection",
    "causal_lm": "mlm_jax.objectives.causal_lm:CausalLanguageModelling",
    "mixture": "mlm_jax.objectives.mixture:Mixture",
    "seq2seq": "mlm_jax.objectives.seq2seq:SequenceToSequence",
    "cmlm": "mlm_jax.objectives.cmlm:ConditionalMaskedLanguageModelling",
  },
  attributes=("title", "tasks", "submodels"),
)

OPTIMIZERS = Table(
  "optim.name",
  {
    name: f"mlm_jax.training.optimizers:{name}"
    for name in ("adamw", "stable_adamw", "lamb", "lion")
  }
  | {
    "adafactor": "mlm_jax.training.adafactor:adafactor",
    "muon": "mlm_jax.training.muon:muon",
    "schedule_free_adamw": "mlm_jax.training.schedule_free:schedule_free_adamw",
  },
)

SCHEDULES = Table(
  "optim.schedule",
  {
    name: f"mlm_jax.training.schedules:{name}"
    for name in (
      "constant",
      "linear",
      "cosine",
      "one_minus_sqrt",
      "inverse_sqrt",
    )
  },
)

CORPUS_FORMATS = Table(
  "corpus format",
  {
    "tfds": "mlm_jax.data.sources.tfds:read",
    "text": "mlm_jax.data.sources.text:read",
    "jsonl": "mlm_jax.data.sources.jsonl:read",
    "parquet": "mlm_jax.data.sources.parquet:read",
    "csv": "mlm_jax.data.sources.delimited:read_csv",
    "tsv": "mlm_jax.data.sources.delimited:read_tsv",
    "arrow": "mlm_jax.data.sources.arrow:read",
  },
)

# Measured on held-out batches beside the objective's own; chosen by
# train.metrics.
METRICS = Table("train.metrics", {}, attributes=("collect", "compute"))

TABLES = [
  CORRUPTIONS,
  OBJECTIVES,
  OPTIMIZERS,
  SCHEDULES,
  CORPUS_FORMATS,
  METRICS,
]
