"""All groups of keys together, and the rules that hold across groups."""

import dataclasses

from mlm_jax import registry
from mlm_jax.config.corruption import CorruptionConfig
from mlm_jax.config.data import DataConfig
from mlm_jax.config.key import check_keys, key
from mlm_jax.config.mesh import MeshConfig
from mlm_jax.config.model import EncoderConfig
from mlm_jax.config.objective import ObjectiveConfig
from mlm_jax.config.optim import OptimConfig
from mlm_jax.config.train import TrainConfig
from mlm_jax.errors import InputError, require

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
  """All keys: equal configurations give equal batches and weights."""

  seed: int = key(
    0,
    "Seed of the initial weights, the order of rows, corruption and dropout.",
    scope="data",
    at_least=0,
    below=2**31,
  )
  model: EncoderConfig = dataclasses.field(default_factory=EncoderConfig)
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  corruption: CorruptionConfig = dataclasses.field(
    default_factory=CorruptionConfig
  )
  objective: ObjectiveConfig = dataclasses.field(
    default_factory=ObjectiveConfig
  )
  optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
  train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
  mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)

  def __post_init__(self):
    check_keys(self)
    self._check_lengths()
    self._check_objective()
    self._check_decoder()
    self._check_spans()
    self._check_mixture()
    self._check_sentence_pairs()
    self._check_generator()

  def _check_lengths(self):
    """Checks what the lengths of rows and of the run have to be."""
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

  def _check_objective(self):
    """Checks that the objective can be trained on this corruption."""
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
    corruption.check(self)

  def _check_decoder(self):
    """Checks that there is a decoder exactly where the objective needs one."""
    name = self.objective.name
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

  def _check_spans(self):
    """Checks what span boundaries need."""
    corruption = registry.CORRUPTIONS[self.corruption.kind]
    require(
      not self.objective.span_boundary
      or (self.objective.name == "mlm" and corruption.masks_spans),
      "objective.span_boundary needs objective.name='mlm' and "
      f"corruption.kind='spans', not {self.objective.name!r} and "
      f"{self.corruption.kind!r}",
    )

  def _check_mixture(self):
    """Checks that rows are of several kinds exactly for a mixture."""
    corruption, name = self.corruption, self.objective.name
    require(
      (corruption.causal_row_share > 0) == (name == "mixture"),
      "objective.name='mixture', and no other, has "
      "corruption.next_token_share or corruption.prefix_share, not "
      f"{name!r} with {corruption.next_token_share} and "
      f"{corruption.prefix_share}",
    )

  def _check_sentence_pairs(self):
    """Checks what rows that are sentence pairs go with."""
    pairs = self.corruption.sentence_pairs
    require(
      pairs == "none"
      or (self.objective.name == "mlm" and not self.objective.span_boundary),
      f"corruption.sentence_pairs={pairs!r} needs objective.name='mlm' without "
      "objective.span_boundary",
    )

  def _check_generator(self):
    """Checks what replaced token detection needs."""
    if self.objective.name != "rtd":
      return
    require(
      self.corruption.mask_share > 0,
      "objective.name='rtd' without masks would let the generator copy: "
      "corruption.mask_share must be over 0",
    )
    self.objective.generator(self.model)
