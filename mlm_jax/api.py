"""The public Python API: what the commands call.

Work directories are given as paths, local or gs://; recipes as `load_recipe`
returns them, or by name or path. Whatever is wrong with an argument is an
`mlm_jax.errors.InputError` of one line.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mlm_jax import recipes
from mlm_jax.data import prepare as prepare_lib
from mlm_jax.errors import unknown
from mlm_jax.evaluation import embed as embed_lib
from mlm_jax.evaluation import fill_mask as fill_mask_lib
from mlm_jax.evaluation import heldout
from mlm_jax.evaluation.evaluate import Evaluation
from mlm_jax.evaluation.evaluate import evaluate as evaluate_workdir
from mlm_jax.hf import exporting, importing
from mlm_jax.hf.importing import Changes
from mlm_jax.objectives import require_support
from mlm_jax.phases import Recipe
from mlm_jax.training import pretrain as pretrain_lib
from mlm_jax.training import restoring
from mlm_jax.training.hooks import Hook
from mlm_jax.training.restoring import TrainedModel
from mlm_jax.workdir import Workdir

Path = str | os.PathLike


def load_recipe(
  name: str, overrides: Mapping[str, Any] | None = None
) -> Recipe:
  """Returns a recipe.

  Args:
    name: a shipped recipe such as "bert_base", or the path of a recipe file;
      either may end in :VARIANT, such as "bert_base:tiny".
    overrides: dotted keys to set, such as {"train.steps": 1000}; a key of one
      phase is called "phases.NAME.train.steps".
  """
  return recipes.load(name, overrides)


def prepare(recipe: Recipe | str, workdir: Path) -> None:
  """Trains the tokenizer and writes the rows of each phase, where missing."""
  recipe, workdir = _recipe(recipe), Workdir.at(workdir)
  workdir.check(recipe)
  prepare_lib.prepare_phases(recipe, workdir)


def pretrain(
  recipe: Recipe | str, workdir: Path, hooks: Sequence[Hook] = ()
) -> bool:
  """Pre-trains, or continues from the last checkpoint; prepares first.

  Args:
    recipe: what to train.
    workdir: where everything is kept; made if need be.
    hooks: called between steps, after evaluation and before saving
      (`mlm_jax.training.hooks`).

  Returns:
    True if the run finished; False if it was interrupted.
  """
  return pretrain_lib.pretrain(
    _recipe(recipe), Workdir.at(workdir), heldout.evaluator, hooks
  )


def restore(workdir: Path, checkpoint: str = "last") -> TrainedModel:
  """Returns a trained or imported model, on the devices at hand.

  Args:
    workdir: what `pretrain` or `import_hf` made.
    checkpoint: "last", "best" by the held-out loss, or a step.
  """
  return restoring.restore(Workdir.at(workdir), checkpoint)


def evaluate(
  workdir: Path,
  checkpoint: str = "last",
  *,
  passes: int = 1,
  discrepancy: bool = False,
) -> Evaluation:
  """Evaluates a checkpoint on held-out documents.

  Args:
    workdir: what `pretrain` made.
    checkpoint: "last", "best" by the held-out loss, or a step.
    passes: over 1, also measures the joint loss of a row's targets when they
      are filled in over so many passes.
    discrepancy: also measures the loss with the token itself, or a random one,
      in the place of [MASK].
  """
  return evaluate_workdir(
    Workdir.at(workdir), checkpoint, passes=passes, discrepancy=discrepancy
  )


def fill_mask(
  model: TrainedModel, text: str, top_k: int = 5, passes: int = 1
) -> list[list[tuple[str, float]]]:
  """Returns, for each [MASK] of a text, the likeliest pieces, best first.

  Args:
    model: from `restore`.
    text: at least one [MASK] is in it.
    top_k: pieces for each mask.
    passes: 1 fills masks independently of each other; more fill the most
      confident first (Mask-Predict, Ghazvininejad et al. 2019).

  Returns:
    For each mask a list of (piece, probability); a word starts with a space.
  """
  return fill_mask_lib.fill_mask(
    model.run, model.params, model.tokenizer, text, top_k, passes
  )


def embed(
  model: TrainedModel,
  texts: Sequence[str],
  pool: str = "mean",
  batch_size: int = 64,
) -> np.ndarray:
  """Returns the encoder's vector of each text, float32 [len(texts), width].

  Args:
    model: from `restore`.
    texts: those longer than the model's positions are cut.
    pool: "mean" over all tokens, or "start", the start token's vector.
    batch_size: texts at a time.
  """
  return embed_lib.embed(
    model.run, model.params, model.tokenizer, texts, pool, batch_size
  )


def export_hf(
  workdir: Path,
  out: Path,
  checkpoint: str = "last",
  *,
  part: str = "",
  family: str = "",
  check_parity: bool = True,
) -> None:
  """Writes a model folder that transformers loads, or one in native format.

  Args:
    workdir: what `pretrain` or `import_hf` made.
    out: the folder to create.
    checkpoint: "last", "best" by the held-out loss, or a step.
    part: of an objective with several models, which one; by default the result
      of training, such as ELECTRA's discriminator.
    family: the family to export to; by default the first that expresses the
      model.
    check_parity: run both models, and refuse to finish if they differ.
  """
  workdir = Workdir.at(workdir)
  require_support(workdir.load_config(), "export_hf")
  model = restoring.restore(workdir, checkpoint)
  submodels = model.run.objective.submodels(model.params)
  part = part or next(iter(submodels))
  if part not in submodels:
    raise unknown("--part", part, submodels)
  exporting.export(
    workdir,
    *submodels[part],
    model.tokenizer,
    pathlib.Path(out).expanduser(),
    step=model.step,
    family_name=family,
    check=check_parity,
  )


def import_hf(
  source: str,
  workdir: Path,
  changes: Changes | None = None,
  *,
  check_parity: bool = True,
) -> None:
  """Makes a work directory of a Hugging Face model, to train it further.

  Args:
    source: a model folder, or a repository name on the hub.
    workdir: the folder to create.
    changes: to make to the model: more tokens, positions or layers.
    check_parity: run both models, and refuse to finish if they differ.
  """
  importing.import_model(
    source, Workdir.at(workdir), changes or Changes(), check=check_parity
  )


def _recipe(recipe: Recipe | str) -> Recipe:
  return recipe if isinstance(recipe, Recipe) else recipes.load(recipe)
