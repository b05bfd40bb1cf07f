"""Exports a model to a folder that transformers loads."""

import json
import pathlib
from collections.abc import Callable

import flax.linen as nn
from etils import epath

from mlm_jax import config as config_lib
from mlm_jax.errors import require, unknown
from mlm_jax.evaluation.embed import check_pool
from mlm_jax.hf import (
  card,
  families,
  files,
  native,
  parity,
  sentence_transformers,
  weights,
)
from mlm_jax.hf.families.base import Family, Values
from mlm_jax.hf.families.pairs import PairHead
from mlm_jax.hf.tokenizer_export import export_tokenizer
from mlm_jax.models.composite import Discriminator, MaskedLM, PairMaskedLM
from mlm_jax.training.restoring import TrainedModel
from mlm_jax.workdir import Workdir, atomic_folder


def export(
  workdir: Workdir,
  trained: TrainedModel,
  out: pathlib.Path,
  *,
  part: str = "",
  family_name: str = "",
  max_tokens: int = 0,
  pool: str = "",
  check: bool = True,
  say: Callable[[str], None] = print,
) -> None:
  """Writes a model folder: config.json, weights, tokenizer and model card.

  A model that no transformers family expresses is written in the native format,
  which `import_hf` reads. A head of sentence pairs is exported with BERT and
  ALBERT.

  Args:
    workdir: where the model was trained; its recipe and its metrics go into
      the card.
    trained: what was restored from it.
    out: the folder to create; it must be empty or absent.
    part: the name of a submodel; by default the result of training.
    family_name: the family to export to; by default the one it was imported
      from, or the first that expresses the model.
    max_tokens: where the tokenizer cuts texts; by default where the positions
      end that were trained.
    pool: makes the folder one of sentence-transformers, with this pooling.
    check: whether to check parity with the exported model.
    say: receives progress messages.

  Raises:
    InputError: `out` exists, the family does not express the model, or the
      models differ. Nothing is written then.
  """
  model, params, heads = submodel(trained, part)
  tokenizer, step, origin = (
    trained.tokenizer,
    trained.step,
    read_origin(workdir),
  )
  vocab = tokenizer.vocabulary
  family = _family(model, vocab, family_name, origin.get("family", ""), pool)
  max_tokens = _max_tokens(max_tokens, model.config, trained.max_tokens, say)
  values = _config_json(model, vocab, family)
  tensors = weights.to_tensors(params, vocab, family)
  pairs = "pair" in heads and _pair_head(workdir, step, family)
  if pairs:
    params = {**params, "pair": heads.pop("pair")}
    tensors |= pairs.write(params["pair"])
    values["architectures"] = [pairs.architecture]
  written_as = values["architectures"][0] if family else native.NAME
  if heads:
    say(f"Not exported, as {written_as} has none: the head {', '.join(heads)}")
  with atomic_folder(epath.Path(out)) as partial:
    files.write_config(partial, values)
    files.write_weights(partial, tensors)
    same_ids = export_tokenizer(
      tokenizer, partial, max_tokens, model.config.num_types, family and check
    )
    verdict = _parity(
      model, params, vocab, tokenizer, partial, family, pairs, check
    )
    say(f"Tokenizer {same_ids}\nParity {verdict}")
    text = card.write(
      workdir.load_recipe(),
      model,
      workdir,
      family,
      verdict,
      step=step,
      max_tokens=max_tokens,
      lost_heads=list(heads),
      pool=pool or "mean",
      origin=origin,
    )
    (partial / "README.md").write_text(text)
    if pool:
      width = model.config.width
      sentence_transformers.write(partial, pool, width, max_tokens)
  _say_dropouts(model, family, values, say)
  say(f"Wrote {out}: {written_as}, step {step:,}")


def submodel(
  trained: TrainedModel, part: str = ""
) -> tuple[nn.Module, dict, dict]:
  """Returns a model that the trained one consists of.

  Args:
    trained: the whole.
    part: the name of the submodel; by default the result of training.

  Returns:
    The module, its parameters, and those of heads that were trained beside it.

  Raises:
    InputError: there is no such part.
  """
  params = trained.params
  submodels = trained.run.objective.submodels(params)
  part = part or next(iter(submodels))
  if part not in submodels:
    raise unknown("--part", part, submodels)
  module, of_part = submodels[part]
  is_within = of_part.keys() <= params.keys()
  heads = {k: v for k, v in params.items() if is_within and k not in of_part}
  return module, of_part, heads


def _pair_head(workdir, step: int, family: Family | None) -> PairHead | None:
  """Returns the family's head of pairs, if it is for those of the run."""
  kind = workdir.load_config(step).corruption.sentence_pairs
  head = family and families.PAIRS.get(family.model_type)
  return head if head and head.kind == kind else None


def _family(model, vocab, name: str, origin: str, pool: str) -> Family | None:
  """Returns the family to export to, None for the native format.

  Args:
    model: the exported one.
    vocab: its vocabulary.
    name: the family to export to; "" for any.
    origin: the family that the model was imported from, "" if it was not.
    pool: as for `export`.
  """
  family = families.of_model(model, vocab, name, preferred=origin)
  hint = "; export --part=generator" if isinstance(model, Discriminator) else ""
  require(
    family or isinstance(model, MaskedLM),
    f"transformers has no equivalent of this {type(model).__name__}, and the "
    f"native format supports only a MaskedLM{hint}",
  )
  if pool:
    check_pool(pool, "--sentence_transformers")
    require(
      family and isinstance(model, MaskedLM),
      "--sentence_transformers is for encoders that transformers has",
    )
  return family


def _parity(model, params, vocab, tokenizer, folder, family, pairs, check):
  """Returns the result of all checks as text."""
  arguments = params, vocab, tokenizer, folder
  found = parity.verdict(model, *arguments, family, check=check)
  if not pairs:
    return found
  with_pairs = PairMaskedLM(model.config, vocab.size)
  of_pairs = parity.pair_verdict(with_pairs, *arguments, pairs, check=check)
  return f"{found}; {of_pairs}"


def _say_dropouts(model, family, values, say) -> None:
  """Says which keys for training have other values in config.json."""
  if not family:
    return
  exported = config_lib.changed(
    model.config, family.read_config(values), ["optimizer"]
  )
  for key, (ours, theirs) in exported.items():
    say(f"model.{key}={ours} becomes {theirs} in config.json, for fine-tuning")


def _max_tokens(max_tokens: int, config, trained: int, say) -> int:
  """Returns where the exported tokenizer cuts texts."""
  longest = config.max_positions
  max_tokens = max_tokens or trained
  require(
    3 <= max_tokens <= longest,
    f"--max_tokens={max_tokens} must be from 3, with start and end, to "
    f"model.max_positions={longest}",
  )
  if max_tokens == trained < longest:
    say(
      f"The tokenizer cuts texts at {max_tokens} tokens: the positions from "
      f"there to {longest} were never trained (--max_tokens={longest} keeps "
      "them)"
    )
  return max_tokens


def read_origin(workdir: Workdir) -> dict[str, str]:
  """Returns "from" and "family" of the imported model; {} without an import."""
  if not workdir.origin.exists():
    return {}
  return json.loads(workdir.origin.read_text())


def _config_json(model, vocab, family: Family | None) -> Values:
  if family:
    return family.write_config(model.config, vocab)
  return native.write_config(model, vocab)
