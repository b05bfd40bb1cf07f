"""A trained model, back from its work directory."""

import math

import jax

from mlm_jax import config as config_lib
from mlm_jax.data import tokenizers
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.training.run import Run
from mlm_jax.workdir import Workdir


def restore(
  workdir: Workdir, checkpoint: str = "last"
) -> tuple[Run, dict, Tokenizer, int]:
  """Returns a run on the devices at hand, its parameters, tokenizer and step.

  Args:
    workdir: what `train` or `import_hf` made.
    checkpoint: "last", "best" by the held-out loss, or a step.

  Raises:
    InputError: there is no such checkpoint, or nothing of a run.
  """
  config = config_lib.for_other_devices(workdir.load_config())
  tokenizer = tokenizers.load(workdir.tokenizer, config.data.vocab_size)
  # As many devices as divide a batch.
  num_devices = math.gcd(config.train.batch_size, jax.device_count())
  run = Run.on(config, tokenizer.vocabulary, jax.devices()[:num_devices])
  with Checkpoints(workdir) as checkpoints:
    params, step = checkpoints.restore_params(
      run.abstract_state.params, checkpoint
    )
  return run, params, tokenizer, step
