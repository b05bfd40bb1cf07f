"""`objective.*`, `optim.*`, `train.*` and `mesh.*`: from batches to weights."""

import dataclasses
from typing import Literal

from mlm_jax.config.checks import check_range, check_types
from mlm_jax.config.encoder import EncoderConfig
from mlm_jax.errors import InputError, require


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
  # Masked language modelling, replaced token detection (ELECTRA), predicting what
  # comes next, or the first for some rows and the last for others; or of
  # encoder-decoders, saying what was lost: from left to right (T5, BART, MASS),
  # or in any order (Mask-Predict).
  name: Literal[*("mlm", "rtd", "causal_lm", "mixture", "seq2seq", "cmlm")] = (
    "mlm"
  )
  # Of mlm over spans: also predict each token from the two around its span
  # (SpanBERT).
  span_boundary: bool = False
  # Of rtd: the generator's width, heads and MLP width, of the encoder's; what
  # the detection counts for, beside 1 for the generator's own loss.
  generator_share: float = 0.25
  rtd_weight: float = 50.0

  def __post_init__(self):
    check_types(self, "objective")
    check_range(self, "objective", above_0=("generator_share", "rtd_weight"))

  def generator(self, model: EncoderConfig) -> EncoderConfig:
    """Returns the encoder that fills in what `model` is to detect.

    Raises:
      InputError: of that width it is none.
    """
    share = self.generator_share
    width = round(share * model.width)
    try:
      return dataclasses.replace(
        model,
        width=width,
        num_heads=max(1, round(share * model.num_heads)),
        # 0 would share none.
        num_kv_heads=model.num_kv_heads
        and max(1, round(share * model.num_kv_heads)),
        mlp_width=round(share * model.mlp_width),
        # It reads the other one's embeddings.
        embedding_width=0 if width == model.table_width else model.table_width,
      )
    except InputError as error:
      raise InputError(
        f"objective.generator_share={share} makes no generator: {error}"
      ) from error


@dataclasses.dataclass(frozen=True)
class OptimConfig:
  name: Literal["adamw"] = "adamw"
  peak_lr: float = 1e-4
  # Linear from 0 to the peak over warmup_steps, then to 0 at train.steps.
  warmup_steps: int = 10_000
  schedule: Literal["linear", "cosine"] = "linear"
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-6
  # Decoupled; not applied to norms and biases.
  weight_decay: float = 0.01
  # The largest global gradient norm; 0 does not clip.
  clip_norm: float = 1.0

  def __post_init__(self):
    check_types(self, "optim")
    check_range(
      *(self, "optim"),
      above_0=("peak_lr", "eps"),
      from_0=("warmup_steps", "weight_decay", "clip_norm"),
      from_0_below_1=("b1", "b2"),
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  steps: int = 1_000_000
  # Rows a step, over all devices and micro-batches.
  batch_size: int = 256
  # The step adds up the gradients of this many equal parts of the batch.
  microbatches: int = 1
  log_every: int = 100
  eval_every: int = 5_000
  # Held-out batches an evaluation; 0 is all of them.
  eval_batches: int = 0
  checkpoint_every: int = 5_000
  keep_last: int = 2
  # Also keep the checkpoints with the lowest held-out loss.
  keep_best: int = 1
  # Stop after this many evaluations in a row that have not lowered the held-out
  # loss by min_gain; 0 never does.
  patience: int = 0
  min_gain: float = 0.0

  def __post_init__(self):
    check_types(self, "train")
    check_range(
      *(self, "train"),
      above_0=(
        *("steps", "batch_size", "microbatches", "log_every", "eval_every"),
        *("checkpoint_every", "keep_last"),
      ),
      from_0=("eval_batches", "keep_best", "patience", "min_gain"),
    )
    require(
      not self.patience or self.keep_best,
      "train.patience without train.keep_best would lose the best checkpoint",
    )
    require(
      self.batch_size % self.microbatches == 0,
      f"train.batch_size={self.batch_size} does not divide into "
      f"train.microbatches={self.microbatches}",
    )


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  # Devices along each axis of the mesh; one of them may be -1, for the rest.
  data: int = -1  # splits the batch
  fsdp: int = 1  # splits the batch and the weights
  tensor: int = 1  # splits heads, MLP width and vocabulary

  def __post_init__(self):
    check_types(self, "mesh")
    sizes = (self.data, self.fsdp, self.tensor)
    require(
      sizes.count(-1) <= 1 and all(s == -1 or s > 0 for s in sizes),
      f"mesh sizes must be positive, one of them -1 at most, not {sizes}",
    )
