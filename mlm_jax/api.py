"""The public Python API: what the commands call.

Work directories are given as paths, local or gs://; recipes as `load_recipe`
returns them, or by name or path. Whatever is wrong with an argument is an
`mlm_jax.errors.InputError` of one line.
"""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mlm_jax import recipes
from mlm_jax.config import Config
from mlm_jax.data import prepare as prepare_lib
from mlm_jax.errors import unknown
from mlm_jax.evaluation import embed as embed_lib
from mlm_jax.evaluation import fill_mask as fill_mask_lib
from mlm_jax.evaluation import heldout
from mlm_jax.evaluation import mask_predict as mask_predict_lib
from mlm_jax.evaluation.evaluate import Evaluation
from mlm_jax.evaluation.evaluate import evaluate as evaluate_workdir
from mlm_jax.hf import exporting, hub, importing, onnx_export
from mlm_jax.hf.importing import Changes
from mlm_jax.objectives import require_support
from mlm_jax.phases import Recipe
from mlm_jax.training import averaging, restoring
from mlm_jax.training import pretrain as pretrain_lib
from mlm_jax.training.hooks import Hook
from mlm_jax.training.restoring import TrainedModel
from mlm_jax.workdir import Workdir

Path = str | os.PathLike

# What not every objective supports, and what its error suggests.
_USES = {
  "fill_mask": "",
  "mask_predict": "fill_mask --passes is for encoders",
  "export_hf": "",
}


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


def prepare(
  recipe: Recipe | str, workdir: Path, *, beam_options: Sequence[str] = ()
) -> None:
  """Trains the tokenizer and writes the rows of each phase, where missing.

  Args:
    recipe: what is to be trained.
    workdir: where everything is kept; made if need be.
    beam_options: such as ["--runner=DirectRunner"], by which Apache Beam writes
      the rows; by default the cores of this machine do.
  """
  workdir = Workdir.at(workdir)
  recipe = _recipe(recipe, workdir)
  workdir.check(recipe)
  prepare_lib.prepare_phases(recipe, workdir, beam_options=beam_options)


def pretrain(
  recipe: Recipe | str,
  workdir: Path,
  hooks: Sequence[Hook] = (),
  *,
  stop_after_phase: str = "",
  force: bool = False,
) -> bool:
  """Pre-trains, or continues from the last checkpoint; prepares first.

  Args:
    recipe: what to train. On a model that was imported, it gives optimizer,
      schedule, corruption and data; what its weights fix is kept, and said.
    workdir: where everything is kept; made if need be.
    hooks: called between steps, after evaluation and before saving
      (`mlm_jax.training.hooks`).
    stop_after_phase: the name of the phase to end with, for now; the same call
      without it goes on.
    force: whether to train although the rows are found to be of no use, such as
      rows without targets.

  Returns:
    True if the run finished, or the phase to stop after; False if it was
    interrupted.
  """
  workdir = Workdir.at(workdir)
  return pretrain_lib.pretrain(
    _recipe(recipe, workdir),
    workdir,
    heldout.evaluator,
    hooks,
    stop_after_phase=stop_after_phase,
    force=force,
  )


def restore(
  workdir: Path, checkpoint: str = "last", *, use: str = ""
) -> TrainedModel:
  """Returns a trained or imported model, on the devices at hand.

  Args:
    workdir: what `pretrain` or `import_hf` made.
    checkpoint: "last", "best" by the held-out loss, or a step; with ":ema"
      appended, the running average of its weights.
    use: "fill_mask", "mask_predict" or "export_hf": raises before the weights
      are read if the objective does not support it.
  """
  if use:
    _require_support(Workdir.at(workdir).load_config(), use)
  return restoring.restore(Workdir.at(workdir), checkpoint)


def evaluate(
  workdir: Path,
  checkpoint: str = "last",
  *,
  corpus: str = "",
  passes: int = 1,
  discrepancy: bool = False,
) -> Evaluation:
  """Evaluates a checkpoint on held-out documents, or on another text.

  Args:
    workdir: what `pretrain` made.
    checkpoint: "last", "best" by the held-out loss, or a step; with ":ema"
      appended, the running average of its weights.
    corpus: a text to evaluate on instead, as data.corpus has it.
    passes: over 1, also measures the joint loss of a row's targets when they
      are filled in over so many passes.
    discrepancy: also measures the loss with the token itself, or a random one,
      in the place of [MASK].
  """
  return evaluate_workdir(
    Workdir.at(workdir),
    checkpoint,
    corpus=corpus,
    passes=passes,
    discrepancy=discrepancy,
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
  _require_support(model.run.config, "fill_mask")
  return fill_mask_lib.fill_mask(
    model.run, model.params, model.tokenizer, text, top_k, passes
  )


def mask_predict(
  model: TrainedModel, text: str, passes: int = 10, num_lengths: int = 5
) -> tuple[str, float]:
  """Returns the text that an encoder-decoder makes of another by Mask-Predict.

  Ghazvininejad et al. 2019; of objective.name="cmlm".

  Args:
    model: from `restore`.
    text: the encoder's input; a [MASK] may stand for any number of words.
    passes: each predicts the least confident tokens again.
    num_lengths: how many lengths to try; the most probable text is kept.

  Returns:
    The text, and the log-probability of its length and tokens, in nats per
    token.
  """
  _require_support(model.run.config, "mask_predict")
  return mask_predict_lib.mask_predict(
    model.run, model.params, model.tokenizer, text, passes, num_lengths
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
    texts: those longer than the positions that were trained are cut.
    pool: "mean" over all tokens, or "start", the start token's vector.
    batch_size: texts at a time.
  """
  return embed_lib.embed(
    *(model.run, model.params, model.tokenizer, texts, pool, batch_size),
    longest=model.max_tokens,
  )


def embed_file(
  workdir: Path,
  texts: Path,
  out: Path,
  checkpoint: str = "last",
  *,
  pool: str = "mean",
  batch_size: int = 64,
) -> None:
  """Writes the encoder's vector of each line of a file, float32 [lines, width].

  Args:
    workdir: what `pretrain` or `import_hf` made; its model is read after all
      other arguments have been checked.
    texts: a UTF-8 file with one text per line.
    out: a .npy file; replaced if it exists.
    checkpoint: "last", "best" by the held-out loss, or a step; with ":ema"
      appended, the running average of its weights.
    pool: "mean" over all tokens, or "start", the start token's vector.
    batch_size: texts at a time.
  """
  workdir = Workdir.at(workdir)
  embed_lib.embed_file(
    os.fspath(texts),
    os.fspath(out),
    lambda: restoring.restore(workdir, checkpoint),
    pool=pool,
    batch_size=batch_size,
  )


def export_hf(
  workdir: Path,
  out: Path,
  checkpoint: str = "last",
  *,
  part: str = "",
  family: str = "",
  max_tokens: int = 0,
  sentence_transformers: str = "",
  push_to_hub: str = "",
  check_parity: bool = True,
) -> None:
  """Writes a model folder that transformers loads, or one in native format.

  Args:
    workdir: what `pretrain` or `import_hf` made.
    out: the folder to create.
    checkpoint: "last", "best" by the held-out loss, or a step; with ":ema"
      appended, the running average of its weights.
    part: of an objective with several models, which one; by default the result
      of training, such as ELECTRA's discriminator.
    family: the family to export to; by default the first that expresses the
      model.
    max_tokens: where the exported tokenizer cuts texts; by default where the
      positions end that were trained.
    sentence_transformers: "mean" or "start" also writes what
      sentence-transformers needs to pool the encoder's vectors.
    push_to_hub: uploads the folder to this repository, private if it is new.
    check_parity: run both models, and refuse to finish if they differ.
  """
  if push_to_hub:
    hub.check_repository(push_to_hub)
  model = restore(workdir, checkpoint, use="export_hf")
  exporting.export(
    Workdir.at(workdir),
    model,
    pathlib.Path(out).expanduser(),
    part=part,
    family_name=family,
    max_tokens=max_tokens,
    pool=sentence_transformers,
    check=check_parity,
  )
  if push_to_hub:
    print(f"Uploaded to {hub.push(pathlib.Path(out), push_to_hub)}")


def export_onnx(
  workdir: Path,
  out: Path,
  checkpoint: str = "last",
  *,
  pool: str = "",
  max_tokens: int = 0,
) -> None:
  """Writes an ONNX model, compared in onnxruntime, without its tokenizer.

  Args:
    workdir: what `pretrain` or `import_hf` made.
    out: the .onnx file to create.
    checkpoint: "last", "best" by the held-out loss, or a step; with ":ema"
      appended, the running average of its weights.
    pool: "" gives logits of each token, "mean" or "start" vectors of texts.
    max_tokens: of the longest text; by default as trained.
  """
  root, path = Workdir.at(workdir), onnx_export.check(os.fspath(out), pool)
  model = restore(workdir, checkpoint, use="export_hf")
  onnx_export.export(root, model, path, max_tokens=max_tokens, pool=pool)


def average_checkpoints(
  sources: Sequence[str],
  workdir: Path,
  *,
  method: averaging.Method = "uniform",
  base: str = "",
  density: float = 0.2,
) -> None:
  """Makes a work directory of the average of checkpoints, of one run or many.

  Args:
    sources: each a work directory, or DIR:CHECKPOINT with "last", "best",
      "best3" for the three best, or a step; any with ":ema" appended.
    workdir: the folder to create.
    method: "uniform", their mean; or "ties" (Yadav et al. 2023).
    base: for ties, the checkpoint that the others were trained from.
    density: for ties, the share of each array's differences that is kept.
  """
  averaging.average_checkpoints(
    sources, Workdir.at(workdir), method=method, base=base, density=density
  )


def import_hf(
  source: str,
  workdir: Path,
  changes: Changes | None = None,
  *,
  revision: str = "",
  check_parity: bool = True,
) -> None:
  """Makes a work directory of a Hugging Face model, to train it further.

  Args:
    source: a model folder, or a repository name on the hub.
    workdir: the folder to create.
    changes: to make to the model: more tokens, positions or layers.
    revision: a branch, tag, commit or refs/pr/N of the repository.
    check_parity: run both models, and refuse to finish if they differ.
  """
  importing.import_model(
    source,
    Workdir.at(workdir),
    changes or Changes(),
    revision=revision,
    check=check_parity,
  )


def _require_support(config: Config, use: str) -> None:
  if use not in _USES:
    raise unknown("use", use, _USES)
  require_support(config, use, _USES[use])


def _recipe(recipe: Recipe | str, workdir: Workdir) -> Recipe:
  """Returns the recipe; of an imported model, what its weights allow."""
  recipe = recipe if isinstance(recipe, Recipe) else recipes.load(recipe)
  recipe, kept = workdir.adapt(recipe)
  if kept and jax.process_index() == 0:
    said = (
      f"{k}={ours!r} (for {other!r})" for k, (ours, other) in kept.items()
    )
    print(f"Kept from the imported model: {', '.join(said)}")
  return recipe
