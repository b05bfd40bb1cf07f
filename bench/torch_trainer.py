"""Hugging Face models trained in PyTorch as a recipe says: a reference.

Models, loss, optimizer, clipping and schedule are PyTorch's, or written here
anew; masks and positions of packed rows are made from the rows. Only initial
weights and batches are ours.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
import peer_models
import torch
import transformers

from mlm_jax.data import pipeline, prepare
from mlm_jax.data.host_tensorflow import iterate
from mlm_jax.data.stream import Stream
from mlm_jax.hf import families, weights
from mlm_jax.training.run import Run
from mlm_jax.workdir import Workdir

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
    self._vocab, self._fault, self._config = vocab, fault, config
    self.model = self._make_model(params)
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

  def _make_model(self, params):
    """Returns a model with our weights."""
    is_rotary = self._config.model.position_kind == "rope"
    family = families.FAMILIES["modernbert" if is_rotary else "bert"]
    model = peer_models.model(
      family.model_type,
      self._config,
      self._vocab,
      attn_implementation="eager",
    )
    return self._load(model, params, family)

  def _load(self, model, params, family):
    tensors = weights.to_tensors(params, self._vocab, family)
    tensors = {k: torch.tensor(v) for k, v in tensors.items()}
    missing = model.load_state_dict(tensors, strict=False)
    assert not missing.unexpected_keys, missing
    model.tie_weights()
    return model

  def _decays(self, name: str) -> bool:
    if self._fault in ("decay_all", "decay_nothing"):
      return self._fault == "decay_all"
    if self._fault == "decay_no_embeddings" and "embedding" in name:
      return False
    return not (name.endswith("bias") or "norm" in name.lower())

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
    logits = self._logits(self.model, batch["input_ids"])
    rows = torch.arange(len(logits))[:, None]
    at = torch.tensor(batch["target_positions"]).long()
    return self._cross_entropy(logits[rows, at], batch)

  def _logits(self, model, ids) -> torch.Tensor:
    """Returns a model's logits at all places of packed rows."""
    segments, positions = self._places(ids)
    return model(
      input_ids=torch.tensor(ids).long(),
      attention_mask=self._mask(segments, positions),
      position_ids=torch.tensor(positions),
    ).logits

  def _cross_entropy(self, logits, batch) -> torch.Tensor:
    """Returns the mean over targets, given the logits at their slots."""
    losses = torch.nn.functional.cross_entropy(
      logits.flatten(0, 1),
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


class T5Trainer(Trainer):
  """Trains T5 on rows of one document each."""

  def _make_model(self, params):
    family = families.ENCODER_DECODERS["t5"]
    values = family.write_config(self._config.model, self._vocab)
    config = transformers.T5Config(**values, attn_implementation="eager")
    model = transformers.T5ForConditionalGeneration(config).train()
    return self._load(model, params, family)

  def _loss(self, batch):
    ids = torch.tensor(batch["input_ids"]).long()
    logits = self.model(
      input_ids=ids,
      attention_mask=(ids != self._vocab.pad_id).long(),
      decoder_input_ids=torch.tensor(batch["decoder_ids"]).long(),
    ).logits
    return self._cross_entropy(logits, batch)


class ElectraTrainer(Trainer):
  """Trains ELECTRA: a generator, and a discriminator over its embeddings.

  The generator samples nothing: `replace` says what it would have drawn.

  Args:
    objective: ours, which knows the two models.
    replace: target ids -> the ids in their places.
  """

  def __init__(self, config, vocab, params, *args, objective, replace, **kw):
    self._objective, self._replace = objective, replace
    super().__init__(config, vocab, params, *args, **kw)

  def _make_model(self, params):
    models = {}
    for name, (module, part) in self._objective.submodels(params).items():
      family = families.FAMILIES["electra"]
      if name == "discriminator":
        family = families.DISCRIMINATORS["electra"]
      values = family.write_config(module.config, self._vocab)
      config = transformers.ElectraConfig(**values, attn_implementation="eager")
      model = getattr(transformers, family.architecture)(config).train()
      models[name] = self._load(model, part, family)
    generator, discriminator = models["generator"], models["discriminator"]
    discriminator.electra.embeddings = generator.electra.embeddings
    return torch.nn.ModuleDict(models)

  def _loss(self, batch):
    masked, at = batch["input_ids"], batch["target_positions"]
    rows = np.arange(len(masked))[:, None]
    is_target = batch["target_weights"] > 0
    logits = self._logits(self.model["generator"], masked)
    loss = self._cross_entropy(logits[rows, at], batch)
    shown, original = masked.copy(), masked.copy()
    targets = batch["target_ids"]
    # Empty slots repeat one that is not.
    shown[rows, at] = np.where(is_target, self._replace(targets), targets)
    original[rows, at] = targets
    detected = torch.nn.functional.binary_cross_entropy_with_logits(
      self._logits(self.model["discriminator"], shown),
      torch.tensor(shown != original, dtype=torch.float32),
      reduction="none",
    )
    is_real = torch.tensor(masked != self._vocab.pad_id)
    return loss + self._config.objective.rtd_weight * detected[is_real].mean()


def _additive(sees: np.ndarray) -> torch.Tensor:
  return torch.where(
    torch.tensor(sees)[:, None], 0.0, torch.finfo(torch.float32).min
  )


class Ours:
  """The losses of our own training, and all that it began with.

  Args:
    recipe: what to train.
    workdir: where its tokenizer and rows are made.
  """

  def __init__(self, recipe, workdir):
    workdir = Workdir.at(workdir)
    self.recipe, self.losses, self.batches = recipe, [], []
    state = None
    for phase in recipe.phases:
      tokenizer, stores = prepare.prepare(phase.config, workdir, lambda _: None)
      workdir.save_recipe(recipe)
      self.vocab = tokenizer.vocabulary
      run = Run.on(phase.config, self.vocab, first_step=phase.first_step)
      if state is None:
        state = run.init_state()
        self.params = jax.device_get(state.params)
      else:
        state = run.take_over(state)
      batches = iterate(
        pipeline.train_batches(
          phase.config,
          Stream(phase.config, stores.sources),
          self.vocab,
          first_step=0,
          local_rows=run.local_rows,
        )
      )
      for _ in range(phase.config.num_steps):
        batch = next(batches)
        self.batches.append(batch)
        state, metrics = run.train_step(state, run.to_device(batch))
        self.losses.append(float(metrics["loss"]))

  def difference(self, *args, **kw) -> float:
    """Returns the largest relative difference of `theirs`."""
    return np.max(np.abs(np.array(self.losses) / self.theirs(*args, **kw) - 1))

  def theirs(
    self, make_optimizer=adamw, fault="", trainer=Trainer, **kw
  ) -> np.ndarray:
    """Returns the losses of a PyTorch trainer on the same batches."""
    first, *others = self.recipe.phases
    trainer = trainer(
      first.config, self.vocab, self.params, make_optimizer, fault, **kw
    )
    found = []
    for batch in self.batches:
      if others and len(found) == others[0].first_step:
        trainer.begin(others.pop(0).config)
      found.append(trainer.step(batch))
    return np.array(found)
