"""A configuration made real: mesh, model, and the compiled functions."""

import dataclasses
import functools
from collections.abc import Mapping

import flax.linen as nn
import jax
from jax.sharding import Mesh

from mlm_jax.config import Config
from mlm_jax.data import corruption as corruption_lib
from mlm_jax.models.composite import MaskedLM, init_params
from mlm_jax.models.encoder import Encoder
from mlm_jax.objectives import OBJECTIVES
from mlm_jax.objectives.base import Objective, Part
from mlm_jax.training import optim, partitioning
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
  """

  config: Config
  vocab: Vocabulary
  mesh: Mesh

  @classmethod
  def on(cls, config: Config, vocab: Vocabulary, devices=None) -> "Run":
    """Returns the run on all devices, or those given."""
    return cls(config, vocab, partitioning.make_mesh(config, devices))

  @property
  def local_rows(self) -> tuple[int, int]:
    return partitioning.local_rows(self.mesh, self.config.train.batch_size)

  def to_device(self, batch):
    batch_size = self.config.train.batch_size
    return partitioning.to_global(batch, self.mesh, batch_size)

  @property
  def objective(self) -> Objective:
    return OBJECTIVES[self.config.objective.name]

  @property
  def terms(self) -> Mapping[str, float]:
    """What each term of the objective counts for."""
    return self.objective.terms(self.config)

  @functools.cached_property
  def model(self) -> nn.Module:
    """What is trained."""
    return self.objective.model(self.config, self.vocab)

  def _weights(self, batch):
    return self.objective.weights(batch, self.vocab)

  def _sums(self, *arguments):
    return self.objective.sums(self.model, self.vocab, *arguments)

  @functools.cached_property
  def _optimizer(self):
    return optim.optimizer(self.config.optim, self.config.train.steps)

  def _init_boxed(self):
    params = init_params(self.model, jax.random.key(self.config.seed))
    return init_state(params, self._optimizer, self.terms)

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
      lambda params: init_state(params, self._optimizer, self.terms),
      out_shardings=self.state_shardings,
    )
    return begin(params)

  @functools.cached_property
  def train_step(self):
    """state, batch -> state, metrics; the state given is consumed."""
    return self._on_mesh(self._train_step)

  def compile_train_step(
    self, batch, options: dict | None = None
  ) -> tuple[jax.stages.Traced, jax.stages.Compiled]:
    """Returns the same, traced and compiled.

    Args:
      batch: the shapes of one.
      options: of the compiler.
    """
    step, state = self._train_step, self.abstract_state
    with partitioning.on(self.mesh):
      traced = step.trace(state, batch)
      return traced, traced.lower().compile(options)

  @functools.cached_property
  def _train_step(self):
    step = functools.partial(
      step_lib.train_step,
      config=self.config,
      weights=self._weights,
      sums=self._sums,
      terms=self.terms,
      optimizer=self._optimizer,
      schedule=optim.schedule(self.config.optim, self.config.train.steps),
      pad_id=self.vocab.pad_id,
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
    """params, batch -> the sums of each term, and their weight."""
    return self._on_mesh(self._eval_step)

  @functools.cached_property
  def _eval_step(self):
    def step(params, batch):
      weights = self._weights(batch)
      sums = step_lib.added_up(
        # Equal parameters give equal numbers: what is drawn has no key.
        lambda params, part, key: self._sums(params, part),
        params,
        batch,
        self.config.train.microbatches,
        jax.random.key(0),
      )
      return {k: {**sums[k], "weight": weights[k]} for k in self.terms}

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
      parts = self.parts(params).values()
      filler = next(part for part in parts if isinstance(part[0], MaskedLM))
      model, params = filler
      return model.apply({"params": params}, *arrays)

    return jax.jit(logits)

  @functools.cached_property
  def encode(self):
    """params and an `Encoder`'s arguments -> vectors [B, L, D]."""

    def encode(params, *arrays):
      model, params = next(iter(self.parts(params).values()))
      encoder = Encoder(model.config, self.vocab.size)
      return encoder.apply(
        {"params": params["encoder"]},
        *arrays,
        # Of a prefix model, the text is the prefix.
        causal=corruption_lib.bind(self.config.corruption).is_causal,
      )

    return jax.jit(encode)

  def parts(self, params) -> dict[str, Part]:
    """Returns the models that the trained one consists of, the result first."""
    return self.objective.parts(self.config, self.vocab, params)

  def _on_mesh(self, compiled):
    def call(*args):
      with partitioning.on(self.mesh):
        return compiled(*args)

    return call
