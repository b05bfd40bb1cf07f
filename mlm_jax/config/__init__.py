"""Every configuration key: declared, typed, explained and checked here, once.

A recipe in `configs/` starts from `default()`, a locked `ConfigDict` with the
values that the groups declare, and sets only what differs. `build` turns the
result into frozen dataclasses, which the rest of the code reads; whatever is
wrong with it is an `InputError` of one line. `may_follow` says which keys may
change once weights exist. The defaults are BERT-base as published (Devlin et
al. 2019), without next-sentence prediction.
"""

from mlm_jax.config.build import (
  build,
  check_key,
  declared,
  declared_name,
  default,
  flat,
  groups,
  key_types,
  keys,
  merge,
  nest,
  scope_of,
  tables,
  without_keys_of_one_phase,
)
from mlm_jax.config.config import Config
from mlm_jax.config.corpus import CorpusConfig, SourceConfig
from mlm_jax.config.corruption import CorruptionConfig
from mlm_jax.config.data import DataConfig
from mlm_jax.config.key import SCOPES, Key
from mlm_jax.config.mesh import MeshConfig
from mlm_jax.config.model import EncoderConfig
from mlm_jax.config.objective import ObjectiveConfig
from mlm_jax.config.optim import OptimConfig
from mlm_jax.config.succession import (
  GROWN,
  INFERENCE,
  changed,
  continued,
  continued_diff,
  for_other_devices,
  may_follow,
  when,
)
from mlm_jax.config.train import TrainConfig

__all__ = [
  "GROWN",
  "INFERENCE",
  "SCOPES",
  "Config",
  "CorpusConfig",
  "CorruptionConfig",
  "DataConfig",
  "EncoderConfig",
  "Key",
  "MeshConfig",
  "ObjectiveConfig",
  "OptimConfig",
  "SourceConfig",
  "TrainConfig",
  "build",
  "changed",
  "check_key",
  "continued",
  "continued_diff",
  "declared",
  "declared_name",
  "default",
  "flat",
  "for_other_devices",
  "groups",
  "key_types",
  "keys",
  "may_follow",
  "merge",
  "nest",
  "scope_of",
  "tables",
  "when",
  "without_keys_of_one_phase",
]
