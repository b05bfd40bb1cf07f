"""Exports a model to a folder that transformers loads."""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
from etils import epath

from mlm_jax import config as config_lib
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import require, unknown
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
  model: nn.Module,
  params,
  tokenizer: Tokenizer,
  out: pathlib.Path,
  *,
  step: int,
  max_tokens: int,
  heads: Mapping[str, Any] | None = None,
  family_name: str = "",
  pool: str = "",
  check: bool = True,
  say: Callable[[str], None] = print,
) -> None:
  """Writes a model folder: config.json, weights, tokenizer and model card.

  A model that no transformers family expresses is written in the native format,
  which `import_hf` reads.

  Args:
    workdir: where the model was trained; its recipe and its metrics go into
      the card.
    model: a `MaskedLM`, a `Discriminator` or an `EncoderDecoder`.
    params: its parameters.
    tokenizer: its tokenizer.
    out: the folder to create; it must be empty or absent.
    step: the training step of the parameters.
    max_tokens: of a text, where the exported tokenizer cuts it.
    heads: by name, the parameters of heads that were trained beside the
      model's. One of sentence pairs is exported with BERT and ALBERT.
    family_name: the family to export to; by default the one it was imported
      from, or the first that expresses the model.
    pool: makes the folder one of sentence-transformers, with this pooling.
    check: whether to check parity with the exported model.
    say: receives progress messages.

  Raises:
    InputError: `out` exists, the family does not express the model, or the
      models differ. Nothing is written then.
  """
  vocab, origin = tokenizer.vocabulary, read_origin(workdir)
  family = _family(model, vocab, family_name, origin.get("family", ""), pool)
  _check_length(max_tokens, model.config, workdir.trained_length(step), say)
  values = _config_json(model, vocab, family)
  tensors = weights.to_tensors(params, vocab, family)
  lost = dict(heads or {})
  pairs = "pair" in lost and _pair_head(workdir, step, family)
  if pairs:
    tensors |= pairs.write(lost.pop("pair"))
    values["architectures"] = [pairs.architecture]
    params = {**params, "pair": heads["pair"]}
  written_as = values["architectures"][0] if family else native.NAME
  if lost:
    say(f"Not exported, as {written_as} has none: the head {', '.join(lost)}")
  with atomic_folder(epath.Path(out)) as partial:
    files.write_config(partial, values)
    files.write_weights(partial, tensors)
    read_as = export_tokenizer(
      tokenizer, partial, max_tokens, model.config.num_types, family and check
    )
    verdict = _parity(
      model, params, vocab, tokenizer, partial, family, pairs, check
    )
    say(f"Tokenizer {read_as}\nParity {verdict}")
    text = card.write(
      workdir.load_recipe(),
      model,
      workdir,
      family,
      verdict,
      step=step,
      max_tokens=max_tokens,
      lost_heads=list(lost),
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
    model, vocab: as for `export`.
    name: what is asked for, "" for nothing.
    origin: the family that the model was imported from, if any.
    pool: as for `export`.
  """
  if not name and families.expresses(origin, model, vocab):
    name = origin
  family = families.of_model(model, vocab, name)
  hint = "; export --part=generator" if isinstance(model, Discriminator) else ""
  require(
    family or isinstance(model, MaskedLM),
    f"transformers has no equivalent of this {type(model).__name__}, and the "
    f"native format supports only a MaskedLM{hint}",
  )
  if pool:
    sentence_transformers.check(pool)
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


def _check_length(max_tokens: int, model, trained: int, say) -> None:
  longest = model.max_positions
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


def read_origin(workdir: Workdir) -> dict[str, str]:
  """Returns "from" and "family" of the imported model; {} without an import."""
  if not workdir.origin.exists():
    return {}
  return json.loads(workdir.origin.read_text())


def _config_json(model, vocab, family: Family | None) -> Values:
  if family:
    return family.write_config(model.config, vocab)
  return native.write_config(model, vocab)
