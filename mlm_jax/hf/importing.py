"""Imports a Hugging Face model into a work directory."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

from mlm_jax import config as config_lib
from mlm_jax.config import EncoderConfig
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import InputError, require
from mlm_jax.hf import hub, reading
from mlm_jax.hf.reading import Folder
from mlm_jax.hf.tokenizer_import import (
  add_tokens,
  as_transformers_reads_it,
  import_tokenizer,
)
from mlm_jax.models import surgery
from mlm_jax.training.checkpoint import Checkpoints
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
    sentence_pairs: import the head of sentence pairs, too.
    generator: the folder or name of an ELECTRA generator, whose discriminator
      the imported model is.
  """

  add_mask_token: bool = False
  new_head: bool = False
  tokens: str = ""
  max_positions: int = 0
  rope_theta: float = 0.0
  larger: EncoderConfig | None = None
  sentence_pairs: bool = False
  generator: str = ""

  def __post_init__(self):
    changes = self.new_head, self.larger, self.tokens, self.max_positions
    require(
      not ((self.sentence_pairs or self.generator) and any(changes)),
      "--sentence_pairs and --generator import a model as it is: change it by "
      "another import of what `export_hf` makes of it",
    )


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
  model = Folder.at(folder)
  encoder = model.encoder
  require(
    not encoder.num_decoder_layers or not (changes.new_head or changes.larger),
    f"--new_head and --grow_to are for encoders: {model.name} has a decoder",
  )
  if changes.larger:
    surgery.check(encoder, _larger(encoder, changes))
  tokenizer = import_tokenizer(
    folder, model.values["vocab_size"], add_mask_token=changes.add_mask_token
  )
  if model.family and check:
    tokenizer, read_as = as_transformers_reads_it(
      tokenizer, folder, encoder.max_positions, changes.add_mask_token
    )
    say(f"Tokenizer {read_as}")
  params, keys = _read(model, tokenizer, changes, check, say)
  encoder, params, tokenizer = _changed(
    encoder, params, tokenizer, words, changes
  )
  # Positions are repeated for longer texts, so that all of them are trained.
  max_tokens = 0 if changes.max_positions else tokenizer.max_tokens
  keys |= {
    "data.tokenizer": source,
    "data.vocab_size": tokenizer.vocabulary.size,
    "data.seq_len": min(_SEQ_LEN, encoder.max_positions),
  }
  _write(workdir, encoder, keys, params, tokenizer, model.family, max_tokens)
  return model.name, encoder


def _read(
  model: Folder, tokenizer: Tokenizer, changes: Changes, check: bool, say
) -> tuple[dict, dict[str, Any]]:
  """Returns the parameters, and the keys of what they learn from."""
  arguments = {"check": check, "say": say}
  if changes.generator:
    generator = Folder.at(hub.folder_of(changes.generator, of="--generator"))
    params, share = reading.electra(model, generator, tokenizer, **arguments)
    reading.say_unused(generator, say)
    keys = {"objective.name": "rtd", "objective.generator_share": share}
  else:
    params = reading.masked_lm(
      model, tokenizer, new_head=changes.new_head, **arguments
    )
    keys = {}
  if changes.sentence_pairs:
    params, kind = reading.sentence_pairs(model, tokenizer, params, **arguments)
    keys = {"corruption.sentence_pairs": kind, "data.packing": "single"}
  if model.encoder.num_decoder_layers:
    kind = "bart" if model.name == "bart" else "span_corruption"
    keys = {"objective.name": "seq2seq", "corruption.kind": kind}
  reading.say_unused(model, say)
  return params, keys


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
  workdir, encoder, keys, params, tokenizer, family, max_tokens
) -> None:
  tokenizer.save(workdir.tokenizer)
  model = {f"model.{k}": v for k, v in dataclasses.asdict(encoder).items()}
  config = config_lib.build(config_lib.nest(model | keys))
  with Checkpoints(workdir, config.train) as checkpoints:
    checkpoints.save_params(params)
  longest = encoder.max_positions
  origin = {
    "from": keys["data.tokenizer"],
    "family": family.model_type if family else "",
    "max_tokens": min(max_tokens or longest, longest),
  }
  workdir.origin.write_text(json.dumps(origin) + "\n")
  workdir.save_config(config)
