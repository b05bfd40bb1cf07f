"""Every configuration key: declared, typed, explained and checked here, once.

A recipe in `configs/` starts from `default()`, a locked `ConfigDict` with the
values that the groups declare, and sets only what differs. `build` turns the
result into frozen dataclasses, which the rest of the code reads; whatever is
wrong with it is an `InputError` of one line. The defaults are BERT-base as
published (Devlin et al. 2019), without next-sentence prediction.
"""

import dataclasses
import operator
import typing
from collections.abc import Mapping

import ml_collections

from mlm_jax import registry
from mlm_jax.config.corruption import CorruptionConfig
from mlm_jax.config.data import DataConfig
from mlm_jax.config.mesh import MeshConfig
from mlm_jax.config.model import EncoderConfig
from mlm_jax.config.objective import ObjectiveConfig
from mlm_jax.config.optim import OptimConfig
from mlm_jax.config.train import TrainConfig
from mlm_jax.errors import InputError, require, unknown

# What an objective trains on, as `Corruption.task` names it.
_TASKS = {
  "mlm": "fill_masks",
  "mixture": "fill_masks",
  "rtd": "fill_masks",
  "causal_lm": "predict_next",
  "seq2seq": "generate",
  "cmlm": "fill_decoder_masks",
}


@dataclasses.dataclass(frozen=True)
class Config:
  """A run, wholly: equal configurations give equal batches and weights."""

  seed: int = 0
  model: EncoderConfig = EncoderConfig()
  data: DataConfig = DataConfig()
  corruption: CorruptionConfig = CorruptionConfig()
  objective: ObjectiveConfig = ObjectiveConfig()
  optim: OptimConfig = OptimConfig()
  train: TrainConfig = TrainConfig()
  mesh: MeshConfig = MeshConfig()

  def __post_init__(self):
    require(type(self.seed) is int, f"seed must be int, not {self.seed!r}")
    require(0 <= self.seed < 2**31, "seed must be in [0, 2**31)")
    require(
      self.data.seq_len <= self.model.max_positions,
      f"data.seq_len={self.data.seq_len} is over "
      f"model.max_positions={self.model.max_positions}",
    )
    require(
      self.optim.warmup_steps < self.train.steps,
      f"optim.warmup_steps={self.optim.warmup_steps} must be under "
      f"train.steps={self.train.steps}",
    )
    require(
      not self.train.patience or self.data.heldout_fraction,
      "train.patience needs a held-out loss: data.heldout_fraction is 0",
    )
    name, kind = self.objective.name, self.corruption.kind
    corruption = registry.CORRUPTIONS[kind](self.corruption)
    if corruption.task != _TASKS[name]:
      kinds = [
        repr(other)
        for other, cls in registry.CORRUPTIONS.items()
        if cls.task == _TASKS[name]
      ]
      raise InputError(
        f"objective.name={name!r} does not go with corruption.kind={kind!r}, "
        f"but with {' or '.join(kinds)}"
      )
    require(
      (self.model.num_decoder_layers > 0) == (name in ("seq2seq", "cmlm")),
      "objective.name='seq2seq' and 'cmlm', and no others, have a decoder: "
      f"model.num_decoder_layers={self.model.num_decoder_layers} does not go "
      f"with {name!r}",
    )
    require(
      name != "cmlm" or self.model.position_kind == "learned",
      "objective.name='cmlm' needs model.position_kind='learned', by which a "
      f"decoder tells its masks apart, not {self.model.position_kind!r}",
    )
    require(
      not self.objective.span_boundary
      or (name == "mlm" and corruption.masks_spans),
      "objective.span_boundary needs objective.name='mlm' and "
      f"corruption.kind='spans', not {self.objective.name!r} and "
      f"{self.corruption.kind!r}",
    )
    corruption.check(self)
    self._check_rows()
    require(
      self.objective.name != "rtd" or self.corruption.mask_share > 0,
      "objective.name='rtd' without masks would let the generator copy: "
      "corruption.mask_share must be over 0",
    )
    if self.objective.name == "rtd":
      self.objective.generator(self.model)

  def _check_rows(self):
    """Checks what goes with rows that are pairs, or of several kinds."""
    corruption, name = self.corruption, self.objective.name
    require(
      (corruption.causal_row_share > 0) == (name == "mixture"),
      "objective.name='mixture', and no other, has corruption.next_token_share or "
      f"corruption.prefix_share, not {name!r} with "
      f"{corruption.next_token_share} and {corruption.prefix_share}",
    )
    pairs = corruption.sentence_pairs
    require(
      pairs == "none" or (name == "mlm" and not self.objective.span_boundary),
      f"corruption.sentence_pairs={pairs!r} needs objective.name='mlm' without "
      "objective.span_boundary",
    )


def default() -> ml_collections.ConfigDict:
  """Returns the declared defaults as a locked `ConfigDict`."""
  return ml_collections.ConfigDict(dataclasses.asdict(Config())).lock()


def build(values) -> Config:
  """Returns the validated `Config` of a `ConfigDict` or nested dict.

  Raises:
    InputError: a key or a value that nobody knows, or a bad combination.
  """
  if isinstance(values, ml_collections.ConfigDict):
    values = values.to_dict()
  return _build(Config, values, prefix="")


def flat(config: Config) -> dict:
  """Returns the value of every dotted key."""
  return {key: operator.attrgetter(key)(config) for key in key_types()}


def key_types() -> dict[str, type]:
  """Returns the type of every dotted key."""
  types = {}
  for group in dataclasses.fields(Config):
    if not dataclasses.is_dataclass(group.type):
      types[group.name] = group.type
      continue
    for field in dataclasses.fields(group.type):
      types[f"{group.name}.{field.name}"] = field.type
  return types


def check_key(key: str) -> None:
  """Raises InputError for a dotted key that is not declared."""
  if key not in key_types():
    listed = f"mlm_jax/config/ explains all {len(key_types())}"
    raise unknown("configuration key", key, key_types(), listed)


def _build(cls, values, prefix):
  require(
    isinstance(values, Mapping),
    f"{prefix.rstrip('.') or 'a recipe'} must be a group of keys, not {values!r}",
  )
  types = typing.get_type_hints(cls)
  for key in values:
    if key not in types:
      raise unknown(
        "configuration key", prefix + key, [prefix + t for t in types]
      )
  return cls(
    **{
      key: _build(types[key], value, f"{prefix}{key}.")
      if dataclasses.is_dataclass(types[key])
      else value
      for key, value in values.items()
    }
  )
