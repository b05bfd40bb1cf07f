"""A work directory's model, written as transformers reads it."""

import json
import pathlib
from collections.abc import Callable

import flax.linen as nn
from etils import epath

from mlm_jax.config import Config
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import require
from mlm_jax.hf import card, families, files, native, parity, weights
from mlm_jax.hf.families.base import Family, Values
from mlm_jax.hf.tokenizer_export import export_tokenizer
from mlm_jax.models.composite import Discriminator, MaskedLM
from mlm_jax.workdir import Workdir, atomic_folder


def export(
  workdir: Workdir,
  config: Config,
  model: nn.Module,
  params,
  tokenizer: Tokenizer,
  out: pathlib.Path,
  *,
  step: int,
  family_name: str = "",
  check: bool = True,
  say: Callable[[str], None] = print,
) -> None:
  """Writes a model folder: config.json, weights, tokenizer, card.

  A model that no family of transformers computes is written in our own format,
  which `import_hf` reads.

  Args:
    workdir: where the model was trained; its metrics go into the card.
    config: the configuration of the run.
    model: a `MaskedLM`, a `Discriminator` or an `EncoderDecoder`.
    params: its parameters.
    tokenizer: its tokenizer.
    out: the folder to be; nothing may be there.
    step: the training step of the parameters.
    family_name: export as a model of this family; the first that fits else.
    check: run both models, and refuse if they differ.
    say: is told what was done.

  Raises:
    InputError: `out` is there, the family cannot express the model, or the
      models differ. Nothing is left behind.
  """
  vocab = tokenizer.vocabulary
  origin = read_origin(workdir)
  name = family_name or origin.get("family", "")
  family = families.of_model(model, vocab, name)
  require(
    family or isinstance(model, MaskedLM),
    f"no class of transformers computes this {type(model).__name__}, and our own "
    "format is for a MaskedLM alone"
    + ("; --part=generator leaves" if isinstance(model, Discriminator) else ""),
  )
  with atomic_folder(epath.Path(out)) as partial:
    files.write_config(partial, _config_json(model, vocab, family))
    files.write_weights(partial, weights.to_tensors(params, vocab, family))
    export_tokenizer(tokenizer, partial, model.config.max_positions)
    verdict = parity.verdict(
      model, params, vocab, tokenizer, partial, family, check=check
    )
    say(f"Parity {verdict}")
    text = card.write(
      config, model, workdir, family, verdict, step=step, origin=origin
    )
    (partial / "README.md").write_text(text)
  kind = family.architecture if family else native.NAME
  say(f"Wrote {out}: {kind}, step {step:,}")


def read_origin(workdir: Workdir) -> dict[str, str]:
  """Returns what `import_hf` noted: "from", "family"; {} without an import."""
  if not workdir.origin.exists():
    return {}
  return json.loads(workdir.origin.read_text())


def _config_json(model, vocab, family: Family | None) -> Values:
  if family:
    return family.write_config(model.config, vocab)
  return native.write_config(model, vocab)
