"""A configuration made real: mesh, model, and the compiled functions."""

import dataclasses
import functools

import flax.linen as nn
import jax
from jax.sharding import Mesh

from mlm_jax.config import Config
from mlm_jax.data.tokenizer import Vocabulary
from mlm_jax.models.heads import MaskedLM, init_params
from mlm_jax.objectives import OBJECTIVES
from mlm_jax.training import optim, partitioning
from mlm_jax.training import step as step_lib


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

  @functools.cached_property
  def model(self) -> MaskedLM:
    return MaskedLM(self.config.model, self.vocab.size)

  @functools.cached_property
  def sums(self) -> step_lib.Sums:
    objective = OBJECTIVES[self.config.objective.name]
    return functools.partial(objective, self.model, self.vocab)

  @functools.cached_property
  def _optimizer(self):
    return optim.optimizer(self.config.optim, self.config.train.steps)

  def _init_boxed(self):
    params = init_params(self.model, jax.random.key(self.config.seed))
    return step_lib.init_state(params, self._optimizer)

  @functools.cached_property
  def state_shardings(self) -> step_lib.TrainState:
    return partitioning.shardings(jax.eval_shape(self._init_boxed), self.mesh)

  @functools.cached_property
  def abstract_state(self) -> step_lib.TrainState:
    """Shapes, dtypes and shardings: what a checkpoint is restored to."""
    return jax.tree.map(
      lambda x, sharding: jax.ShapeDtypeStruct(
        x.shape, x.dtype, sharding=sharding
      ),
      nn.unbox(jax.eval_shape(self._init_boxed)),
      self.state_shardings,
    )

  def init_state(self, params=None) -> step_lib.TrainState:
    """Returns the state at step 0, born sharded, with parameters if given."""
    if params is None:
      init = lambda: nn.unbox(self._init_boxed())
      return jax.jit(init, out_shardings=self.state_shardings)()
    begin = jax.jit(
      lambda params: step_lib.init_state(params, self._optimizer),
      out_shardings=self.state_shardings,
    )
    return begin(params)

  @functools.cached_property
  def train_step(self):
    """state, batch -> state, metrics; the state given is consumed."""
    step = functools.partial(
      step_lib.train_step,
      config=self.config,
      sums=self.sums,
      optimizer=self._optimizer,
      schedule=optim.schedule(self.config.optim, self.config.train.steps),
      pad_id=self.vocab.pad_id,
    )
    return self._on_mesh(
      jax.jit(
        step,
        in_shardings=(
          self.state_shardings,
          partitioning.batch_sharding(self.mesh),
        ),
        out_shardings=(self.state_shardings, None),
        donate_argnums=0,
      )
    )

  @functools.cached_property
  def eval_step(self):
    """params, batch -> the objective's sums."""
    return self._on_mesh(
      jax.jit(
        self.sums,
        in_shardings=(
          self.state_shardings.params,
          partitioning.batch_sharding(self.mesh),
        ),
      )
    )

  @functools.cached_property
  def logits(self):
    """params and the model's arguments -> float32 logits [B, P, V]."""
    return jax.jit(
      lambda params, *arrays: self.model.apply({"params": params}, *arrays)
    )

  def _on_mesh(self, compiled):
    def call(*args):
      with partitioning.on(self.mesh):
        return compiled(*args)

    return call
