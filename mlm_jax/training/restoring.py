"""A trained model, restored from its work directory."""

import math
from typing import Any, NamedTuple

import jax

from mlm_jax import config as config_lib
from mlm_jax.data import tokenizers
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.training.run import Run
from mlm_jax.workdir import Workdir


class TrainedModel(NamedTuple):
  """What inference needs of a run.

  Attributes:
    run: the model's functions, with the configuration of the phase that the
      checkpoint was trained in, on the devices at hand.
    params: its parameters.
    tokenizer: its tokenizer.
    step: the step of the checkpoint.
    max_tokens: those of the longest text that it takes.
  """

  run: Run
  params: Any
  tokenizer: Tokenizer
  step: int
  max_tokens: int


def restore(workdir: Workdir, checkpoint: str = "last") -> TrainedModel:
  """Returns a trained model on the devices at hand.

  Args:
    workdir: what `train` or `import_hf` made.
    checkpoint: "last", "best" by the held-out loss, or a step; with ":ema"
      appended, the running average of its weights.

  Raises:
    InputError: there is no such checkpoint, or the folder holds no run.
  """
  recipe = workdir.load_recipe()
  first = recipe.phases[0].config
  tokenizer = tokenizers.load(workdir.tokenizer, first.data.vocab_size)
  # Parameters are the same in all phases; what is computed with them is not.
  like = _run_here(first, tokenizer).abstract_state.params
  with Checkpoints(workdir) as checkpoints:
    params, step = checkpoints.restore_params(like, checkpoint)
  run = _run_here(recipe.phase_at(step).config, tokenizer)
  params = jax.device_put(params, run.state_shardings.params)
  return TrainedModel(
    run, params, tokenizer, step, workdir.trained_length(step)
  )


def _run_here(config: config_lib.Config, tokenizer: Tokenizer) -> Run:
  config = config_lib.for_other_devices(config)
  # As many devices as divide every batch.
  num_devices = math.gcd(*config.timeline.batch_sizes, jax.device_count())
  devices = jax.devices()[:num_devices]
  return Run.on(config, tokenizer.vocabulary, devices)
