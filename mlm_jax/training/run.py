"""A configuration made real: mesh, model, and the compiled functions."""

import dataclasses
import functools

import flax.linen as nn
import jax
from jax.sharding import Mesh

from mlm_jax.config import Config
from mlm_jax.models.composite import MaskedLM, init_params
from mlm_jax.models.encoder import Encoder
from mlm_jax.objectives import bind
from mlm_jax.objectives.base import Objective
from mlm_jax.training import optimizers, partitioning, schedules
from mlm_jax.training import step as step_lib
from mlm_jax.training.state import TrainState, init_state
from mlm_jax.vocabulary import Vocabulary


@dataclasses.dataclass(frozen=True)
class Run:
  """What training, evaluation and inference share; nothing here has a state.

  Attributes:
    config: the configuration.
    vocab: the tokenizer's vocabulary.
    mesh: its devices.
    first_step: the step of the whole run that is this phase's first.
  """

  config: Config
  vocab: Vocabulary
  mesh: Mesh
  first_step: int = 0

  @classmethod
  def on(
    cls, config: Config, vocab: Vocabulary, devices=None, first_step: int = 0
  ) -> "Run":
    """Returns the run on all devices, or those given."""
    mesh = partitioning.make_mesh(config, devices)
    return cls(config, vocab, mesh, first_step)

  def local_rows(self, batch_size: int) -> tuple[int, int]:
    """Returns which rows of a global batch this process feeds."""
    return partitioning.local_rows(self.mesh, batch_size)

  def to_device(self, batch):
    """Returns a batch as global arrays, given this process's rows of it."""
    # Each process has the same share of a batch of any size.
    batch_size = self.config.train.batch_size
    start, stop = self.local_rows(batch_size)
    batch_size = len(batch["input_ids"]) * batch_size // (stop - start)
    return partitioning.to_global(batch, self.mesh, batch_size)

  @functools.cached_property
  def objective(self) -> Objective:
    return bind(self.config, self.vocab)

  @functools.cached_property
  def _optimizer(self):
    schedule = schedules.of_phase(self.config, self.first_step)
    return optimizers.Optimizer(self.config.optim, schedule)

  def _init_boxed(self):
    key = jax.random.key(self.config.seeds.weights)
    params = init_params(self.objective.model, key)
    return init_state(params, self._optimizer, self.objective.terms)

  @functools.cached_property
  def state_shardings(self) -> TrainState:
    return partitioning.shardings(jax.eval_shape(self._init_boxed), self.mesh)

  @functools.cached_property
  def abstract_state(self) -> TrainState:
    """Shapes, dtypes and shardings: what a checkpoint is restored to."""
    return jax.tree.map(
      lambda x, sharding: jax.ShapeDtypeStruct(
        x.shape, x.dtype, sharding=sharding
      ),
      nn.unbox(jax.eval_shape(self._init_boxed)),
      self.state_shardings,
    )

  def init_state(self, params=None) -> TrainState:
    """Returns the state at step 0, born sharded, with parameters if given."""
    if params is None:
      init = lambda: nn.unbox(self._init_boxed())
      return jax.jit(init, out_shardings=self.state_shardings)()
    begin = jax.jit(
      lambda params: init_state(params, self._optimizer, self.objective.terms),
      out_shardings=self.state_shardings,
    )
    return begin(params)

  def take_over(self, state: TrainState) -> TrainState:
    """Returns the last state of another phase as the first of this one.

    The state given is consumed. Its optimizer's part goes on unless
    `train.reset_optimizer` asks for a new one, and so do averages if this phase
    keeps any; sums of metrics and hours begin anew.
    """
    begun = ["metric_sums", "hours"]
    if self.config.train.reset_optimizer:
      begun.append("opt_state")
    if state.averages is None or not self.config.optim.ema_decay:
      begun.append("averages")
    kept = {k: x for k, x in vars(state).items() if k not in begun}
    shardings = {name: getattr(self.state_shardings, name) for name in kept}
    kept = jax.device_put(kept, shardings)

    def complete(kept):
      terms = self.objective.terms
      new = init_state(kept["params"], self._optimizer, terms)
      return new.replace(**kept)

    complete = jax.jit(
      complete, out_shardings=self.state_shardings, donate_argnums=0
    )
    return complete(kept)

  @functools.cached_property
  def train_step(self):
    """state, batch -> state, metrics; the state given is consumed."""
    return self.on_mesh(self._train_step)

  def trace_train_step(self, batch) -> jax.stages.Traced:
    """Returns the same, traced for the shapes of a batch."""
    step, state = self._train_step, self.abstract_state
    with partitioning.on(self.mesh):
      return step.trace(state, batch)

  def compile_train_step(
    self, batch, options: dict | None = None
  ) -> tuple[jax.stages.Traced, jax.stages.Compiled]:
    """Returns the same, traced and compiled.

    Args:
      batch: the shapes of one.
      options: of the compiler.
    """
    traced = self.trace_train_step(batch)
    with partitioning.on(self.mesh):
      return traced, traced.lower().compile(options)

  @functools.cached_property
  def _train_step(self):
    step = functools.partial(
      step_lib.train_step,
      config=self.config,
      objective=self.objective,
      optimizer=self._optimizer,
    )
    return jax.jit(
      step,
      in_shardings=(
        self.state_shardings,
        partitioning.batch_sharding(self.mesh),
      ),
      out_shardings=(self.state_shardings, None),
      donate_argnums=0,
    )

  @functools.cached_property
  def eval_step(self):
    """params, batch -> the loss sums of each term, and their denominator."""
    return self.on_mesh(self._eval_step)

  @functools.cached_property
  def _eval_step(self):
    objective = self.objective

    def step(params, batch):
      denominators = objective.denominators(batch)
      sums = step_lib.accumulate(
        # Equal parameters give equal numbers: no random key.
        lambda params, microbatch, key: objective.loss_sums(params, microbatch),
        params,
        batch,
        self.config.train.microbatches_of(len(batch["input_ids"])),
        jax.random.key(0),
      )
      return {
        term: {**sums[term], "weight": denominators[term]}
        for term in objective.terms
      }

    return jax.jit(
      step,
      in_shardings=(
        self.state_shardings.params,
        partitioning.batch_sharding(self.mesh),
      ),
    )

  @functools.cached_property
  def logits(self):
    """params and a `MaskedLM`'s arguments -> float32 logits [B, P, V]."""

    def logits(params, *arrays):
      submodels = self.objective.submodels(params).values()
      model, params = next(m for m in submodels if isinstance(m[0], MaskedLM))
      return model.apply({"params": params}, *arrays).logits_BPV

    return jax.jit(logits)

  @functools.cached_property
  def encode(self):
    """params and an `Encoder`'s arguments -> vectors [B, L, D]."""

    def encode(params, *arrays):
      submodels = self.objective.submodels(params).values()
      model, params = next(iter(submodels))
      encoder = Encoder(model.config, self.vocab.size)
      return encoder.apply(
        {"params": params["encoder"]},
        *arrays,
        causal=self.objective.is_causal,
      )

    return jax.jit(encode)

  def on_mesh(self, compiled):
    """Returns a compiled function that is called within the run's mesh."""

    def call(*args):
      with partitioning.on(self.mesh):
        return compiled(*args)

    return call
