"""Imports a Hugging Face model into a work directory."""

import contextlib
import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Callable

import flax.linen as nn
import jax

from mlm_jax import config as config_lib
from mlm_jax.config import Config, EncoderConfig
from mlm_jax.errors import InputError, require
from mlm_jax.hf import families, files, hub, native, parity, weights
from mlm_jax.hf.families.base import Family, Values
from mlm_jax.hf.tokenizer_import import (
  add_tokens,
  as_transformers_reads_it,
  import_tokenizer,
)
from mlm_jax.models import surgery
from mlm_jax.models.composite import MaskedLM, init_params
from mlm_jax.training.checkpoint import Checkpoints
from mlm_jax.vocabulary import Vocabulary
from mlm_jax.workdir import Workdir, atomic_folder

# The default data.seq_len of an imported work directory.
_SEQ_LEN = 512


@dataclasses.dataclass(frozen=True)
class Changes:
  """Changes to make to an imported model.

  Attributes:
    add_mask_token: add a mask token to a tokenizer without one.
    new_head: start from a random head if the model has none.
    tokens: a file with one word per line, each to become a token.
    max_positions: the new maximum length; 0 keeps it.
    rope_theta: the new RoPE base of global layers; 0 keeps it.
    larger: an encoder whose depth and widths to grow to, by tiling.
  """

  add_mask_token: bool = False
  new_head: bool = False
  tokens: str = ""
  max_positions: int = 0
  rope_theta: float = 0.0
  larger: EncoderConfig | None = None


def import_model(
  source: str,
  workdir: Workdir,
  changes: Changes = Changes(),
  *,
  revision: str = "",
  check: bool = True,
  say: Callable[[str], None] = print,
) -> None:
  """Creates a work directory whose training continues from a released model.

  Args:
    source: a model folder, or a repository name on the hub.
    workdir: to create; it must be empty or absent.
    changes: applied after the parity check.
    revision: a branch, tag, commit or refs/pr/N of the repository.
    check: whether to check parity with the original model.
    say: receives progress messages.

  Raises:
    InputError: there is no such model, it cannot be read or is not supported,
      or the models differ. Nothing is written then.
  """
  with atomic_folder(workdir.root) as partial:
    folder = hub.folder_of(source, revision)
    family, encoder = _import(
      source, folder, Workdir(partial), changes, check, say
    )
  say(
    f"Wrote {workdir.root}: {family}, {encoder.num_layers} layers of "
    f"{encoder.width}. To continue training:\n"
    f"  python -m mlm_jax train --workdir={workdir.root} "
    "--config.data.corpus='text:my/*.txt' --config.train.steps=10000 "
    "--config.optim.warmup_steps=500"
  )


def _import(
  source, folder, workdir, changes, check, say
) -> tuple[str, EncoderConfig]:
  """Returns the name of the family and the encoder after all changes."""
  words = _words(changes.tokens)
  values = files.read_config(folder)
  family, encoder = _architecture(values, folder)
  if changes.larger:
    surgery.check(encoder, _larger(encoder, changes))
  tokenizer = import_tokenizer(
    folder, values["vocab_size"], add_mask_token=changes.add_mask_token
  )
  # An added mask token may be past the last row of the embedding table.
  vocab = dataclasses.replace(tokenizer.vocabulary, size=values["vocab_size"])
  if family and check:
    tokenizer, read_as = as_transformers_reads_it(
      tokenizer, folder, encoder.max_positions
    )
    say(f"Tokenizer {read_as}")
  params = _read_params(folder, values, encoder, vocab, family, changes, say)
  with _as_spelled_today(folder, encoder, params, vocab, family) as folder:
    verdict = parity.verdict(
      MaskedLM(encoder, vocab.size),
      params,
      vocab,
      tokenizer,
      folder,
      family,
      check=check,
      headless=changes.new_head,
    )
  say(f"Parity {verdict}")
  encoder, params, tokenizer = _changed(
    encoder, params, tokenizer, words, changes
  )
  # Positions are repeated for longer texts, so that all of them are trained.
  max_tokens = 0 if changes.max_positions else tokenizer.max_tokens
  _write(workdir, encoder, params, tokenizer, source, family, max_tokens)
  return family.model_type if family else native.NAME, encoder


def _words(path: str) -> list[str]:
  """Returns the distinct lines of a file; none if path is ""."""
  if not path:
    return []
  try:
    text = pathlib.Path(path).expanduser().read_text(encoding="utf-8-sig")
  except (OSError, UnicodeDecodeError) as error:
    raise InputError(f"--add_tokens={path} cannot be read") from error
  words = list(dict.fromkeys(filter(None, map(str.strip, text.splitlines()))))
  require(words, f"--add_tokens={path} has no words")
  return words


def _architecture(
  values: Values, folder: pathlib.Path
) -> tuple[Family | None, EncoderConfig]:
  if values.get("model_type") == native.MODEL_TYPE:
    return None, native.read_config(values)
  is_named = "model_type" in values
  family = families.of_config(values, () if is_named else files.Weights(folder))
  require(
    isinstance(values.get("vocab_size"), int), "config.json lacks 'vocab_size'"
  )
  return family, family.read_config(values)


@contextlib.contextmanager
def _as_spelled_today(folder, encoder, params, vocab, family):
  """Yields a folder whose spelling transformers reads."""
  if not family or not family.older_spelling:
    yield folder
    return
  with tempfile.TemporaryDirectory() as respelled:
    today = families.FAMILIES[family.model_type]
    respelled = pathlib.Path(respelled)
    files.write_config(respelled, today.write_config(encoder, vocab))
    files.write_weights(respelled, weights.to_tensors(params, vocab, today))
    yield respelled


def _read_params(folder, values, encoder, vocab, family, changes, say) -> dict:
  headless = changes.new_head
  tensors = files.Weights(folder)
  pad_id = values.get("pad_token_id")
  if family and family.padded_positions and pad_id not in (None, vocab.pad_id):
    say(
      f"config.json has pad_token_id={pad_id}, the tokenizer pads with "
      f"{vocab.pad_id}: positions are counted from the first, as transformers "
      "does"
    )
    vocab = dataclasses.replace(vocab, pad_id=pad_id)
  try:
    params = weights.from_tensors(
      tensors, encoder, vocab, family, headless=headless
    )
  except InputError as error:
    found = (values.get("architectures") or ["?"])[0]
    if family is None or headless or found == family.architecture:
      raise
    raise InputError(
      f"{error}; the model is a {found}, not a {family.architecture}: "
      "--new_head imports the encoder alone with a random head"
    ) from error
  if headless:
    params |= _random_head(encoder, vocab)
    say("Starting from a random head (--new_head)")
  return params


def _random_head(config: EncoderConfig, vocab: Vocabulary):
  init = lambda: init_params(MaskedLM(config, vocab.size), jax.random.key(0))
  # A head may have no parameters.
  keep = lambda params: {k: v for k, v in params.items() if k == "head"}
  return jax.jit(lambda: nn.unbox(keep(init())))()


def _changed(encoder, params, tokenizer, words, changes: Changes):
  """Returns the encoder, parameters and tokenizer after all changes."""
  if changes.add_mask_token:
    mask_id = tokenizer.vocabulary.mask_id
    params = surgery.add_tokens(params, [[]], first_id=mask_id)
  if words:
    tokenizer, spelled = add_tokens(tokenizer, words)
    require(spelled, f"--add_tokens={changes.tokens} has no new tokens")
    params = surgery.add_tokens(params, list(spelled.values()), min(spelled))
  if changes.max_positions or changes.rope_theta:
    params, encoder = surgery.extend_positions(
      params,
      encoder,
      changes.max_positions or encoder.max_positions,
      changes.rope_theta or None,
    )
  if changes.larger:
    larger = _larger(encoder, changes)
    params, encoder = surgery.grow(params, encoder, larger), larger
  return encoder, params, tokenizer


def _larger(encoder: EncoderConfig, changes: Changes) -> EncoderConfig:
  sizes = {key: getattr(changes.larger, key) for key in config_lib.GROWN}
  return dataclasses.replace(encoder, **sizes)


def _write(
  workdir, encoder, params, tokenizer, source, family, max_tokens
) -> None:
  tokenizer.save(workdir.tokenizer)
  config = Config(
    model=encoder,
    data=config_lib.DataConfig(
      tokenizer=source,
      vocab_size=tokenizer.vocabulary.size,
      seq_len=min(_SEQ_LEN, encoder.max_positions),
    ),
  )
  with Checkpoints(workdir, config.train) as checkpoints:
    checkpoints.save_params(params)
  origin = {
    "from": source,
    "family": family.model_type if family else "",
    "max_tokens": min(
      max_tokens or encoder.max_positions, encoder.max_positions
    ),
  }
  workdir.origin.write_text(json.dumps(origin) + "\n")
  workdir.save_config(config)
