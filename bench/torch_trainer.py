"""Hugging Face models trained in PyTorch as a recipe says: a reference.

Models, loss, optimizer, clipping and schedule are PyTorch's, or written here
anew; masks and positions of packed rows are made from the rows. Only initial
weights and batches are ours.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import peer_models
import torch

from mlm_jax.hf import families, weights

# What a trainer may get wrong, for tests of what would be noticed.
FAULTS = {
  "decay_all": "norms and biases decay, too",
  "decay_nothing": "no weight decay",
  "decay_no_embeddings": "embeddings do not decay",
  "no_clipping": "gradients are not clipped",
  "early_schedule": "the schedule is one step ahead",
  "decay_from_zero": "the rate falls from step 0 on, not from the peak",
  "mean_of_rows": "the mean of rows' means, not that over all targets",
  "across_documents": "documents of a row see each other",
  "row_positions": "positions do not restart at documents",
  "relative_decay": "weight decay times the rate over its peak",
  "small_eps": "epsilon is 1e-8, not 1e-6",
  "no_bias_correction": "Adam's moments are not corrected",
}


def adamw(config, groups):
  """Returns PyTorch's AdamW for groups of parameters."""
  optim = config.optim
  return torch.optim.AdamW(
    groups, lr=optim.peak_lr, betas=(optim.b1, optim.b2), eps=optim.eps
  )


@dataclasses.dataclass
class Rate:
  """A linear warm-up, and a linear decay to 0 at the end of the phase."""

  peak: float
  warmup: int
  steps: int

  def at(self, step: int, fault: str = "") -> float:
    step += fault == "early_schedule"
    if step < self.warmup:
      return self.peak * step / self.warmup
    first = 0 if fault == "decay_from_zero" else self.warmup
    return self.peak * (self.steps - step) / (self.steps - first)


class Trainer:
  """Trains one model, step by step.

  Args:
    config: of the first phase.
    vocab: the vocabulary.
    params: our initial weights.
    make_optimizer: config, parameter groups -> a PyTorch optimizer.
    fault: one of `FAULTS`, or "".
  """

  def __init__(
    self,
    config,
    vocab,
    params,
    make_optimizer: Callable = adamw,
    fault: str = "",
  ):
    name = "modernbert" if config.model.position_kind == "rope" else "bert"
    self._vocab, self._fault = vocab, fault
    self.model = peer_models.model(
      name,
      config,
      vocab,
      attn_implementation="eager",
    )
    tensors = weights.to_tensors(params, vocab, families.FAMILIES[name])
    tensors = {k: torch.tensor(v) for k, v in tensors.items()}
    missing = self.model.load_state_dict(tensors, strict=False)
    assert not missing.unexpected_keys, missing
    self.model.tie_weights()
    self._parameters = list(self.model.parameters())
    groups = [
      {
        "params": [p],
        "weight_decay": config.optim.weight_decay * self._decays(name),
      }
      for name, p in self.model.named_parameters()
    ]
    self._optimizer = make_optimizer(config, groups)
    self._decay = [group["weight_decay"] for group in groups]
    self._step = 0
    self.begin(config)

  def begin(self, config) -> None:
    """Begins a phase; the optimizer's state goes on."""
    self._config, self._first = config, self._step
    optim = config.optim
    self._rate = Rate(optim.peak_lr, optim.warmup_steps, config.train.steps)

  def _decays(self, name: str) -> bool:
    if self._fault in ("decay_all", "decay_nothing"):
      return self._fault == "decay_all"
    if self._fault == "decay_no_embeddings" and "embedding" in name:
      return False
    return not ("bias" in name or "norm" in name.lower())

  def step(self, batch) -> float:
    """Trains on a batch; returns its loss before."""
    loss = self._loss(batch)
    self._optimizer.zero_grad()
    loss.backward()
    optim = self._config.optim
    if optim.clip_norm and self._fault != "no_clipping":
      torch.nn.utils.clip_grad_norm_(self._parameters, optim.clip_norm)
    rate = self._rate.at(self._step - self._first, self._fault)
    for group, decay in zip(
      self._optimizer.param_groups, self._decay, strict=True
    ):
      group.update(self._settings(rate, decay))
    self._optimizer.step()
    self._step += 1
    return loss.item()

  def _settings(self, rate: float, decay: float) -> dict[str, float]:
    optim = self._config.optim
    if self._fault == "relative_decay" and rate:
      return {"lr": rate, "weight_decay": decay / optim.peak_lr}
    if self._fault == "small_eps":
      return {"lr": rate, "eps": 1e-8}
    if self._fault == "no_bias_correction":
      first = 1 - optim.b1 ** (self._step + 1)
      second = (1 - optim.b2 ** (self._step + 1)) ** 0.5
      return {
        "lr": rate * first / second,
        "eps": optim.eps / second,
        "weight_decay": decay * second / first,
      }
    return {"lr": rate}

  def _loss(self, batch) -> torch.Tensor:
    ids = batch["input_ids"]
    segments, positions = self._places(ids)
    logits = self.model(
      input_ids=torch.tensor(ids).long(),
      attention_mask=self._mask(segments, positions),
      position_ids=torch.tensor(positions),
    ).logits
    rows = torch.arange(len(ids))[:, None]
    at = torch.tensor(batch["target_positions"]).long()
    losses = torch.nn.functional.cross_entropy(
      logits[rows, at].flatten(0, 1),
      torch.tensor(batch["target_ids"]).long().flatten(),
      reduction="none",
    )
    counts = torch.tensor(batch["target_weights"])
    losses = losses.view_as(counts) * counts
    if self._fault == "mean_of_rows":
      return (losses.sum(1) / counts.sum(1).clamp(min=1)).mean()
    return losses.sum() / counts.sum()

  def _places(self, ids) -> tuple[np.ndarray, np.ndarray]:
    """Returns the document of each token, and its position there."""
    starts = ids == self._vocab.start_id
    segments = np.cumsum(starts, axis=1)
    segments[ids == self._vocab.pad_id] = 0
    index = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    first = np.maximum.accumulate(np.where(starts, index, 0), axis=1)
    return segments, index if self._fault == "row_positions" else index - first

  def _mask(self, segments, positions):
    sees = segments[:, :, None] == segments[:, None]
    if self._fault == "across_documents":
      sees = (segments > 0)[:, None] & (segments > 0)[:, :, None]
    sees |= np.eye(segments.shape[1], dtype=bool)  # Of padding, itself.
    full = _additive(sees)
    window = self._config.model.window
    if not window:
      return full
    distance = np.abs(positions[:, :, None] - positions[:, None])
    return {
      "full_attention": full,
      "sliding_attention": _additive(sees & (distance <= window // 2)),
    }


def _additive(sees: np.ndarray) -> torch.Tensor:
  return torch.where(
    torch.tensor(sees)[:, None], 0.0, torch.finfo(torch.float32).min
  )
