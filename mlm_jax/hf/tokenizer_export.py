"""Exports a tokenizer to a tokenizer.json and the files beside it."""

import json

import tokenizers
from etils import epath
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from mlm_jax.data.tokenizers import (
  MASK,
  SPACE,
  HuggingFaceTokenizer,
  SentencePieceTokenizer,
  Tokenizer,
)
from mlm_jax.data.tokenizers.tokenizer_files import FILE, parse, template
from mlm_jax.errors import require
from mlm_jax.hf import tokenizer_parity
from mlm_jax.hf.files import json_bytes
from mlm_jax.hf.normalizer import normalizer

_NORMAL, _USER_DEFINED = 1, 4  # SentencePiece's types of pieces.
_UNIGRAM, _BPE = 1, 2  # SentencePiece's types of models.


def to_tokenizers(tokenizer: SentencePieceTokenizer) -> tokenizers.Tokenizer:
  """Returns an equivalent tokenizer of the tokenizers library.

  Its ids are those of `encode`, and of `encode_with_masks` if the text contains
  [MASK]. This was verified on 50,361 lines of prose and on every character of
  Unicode. Known differences:
    A letter added in Unicode 14 (2021) or later, before a combining mark that
      composes with it: the library's tables may be older.
    [CLS], [SEP], [PAD] and [UNK] in a text are plain text to SentencePiece, but
      to the library only with `encode_special_tokens`.
    In a run of bytes that is not UTF-8, all bytes decode to "\ufffd", not only
      the invalid ones.
  For models that `train` did not create, also:
    Texts that a unigram model may split in several equally good ways, such as
      "=====": see `train` about rounding errors.
    The space before a user-defined piece other than [MASK] is lost.
    U+0001, and "▁" at the start of a text, if the normalizer keeps them.

  Raises:
    InputError: the model was trained with options that `train` never uses.
  """
  proto = sentencepiece_model_pb2.ModelProto.FromString(tokenizer.model)
  _check_supported(proto)
  model_type = proto.trainer_spec.model_type
  result = tokenizers.Tokenizer(_MODELS[model_type](proto))
  result.normalizer = normalizer(proto.normalizer_spec.precompiled_charsmap)
  result.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
  result.decoder = decoders.Sequence(
    [
      decoders.Replace(SPACE, " "),
      decoders.ByteFallback(),
      decoders.Fuse(),
      decoders.Strip(" ", 1, 0),
    ]
  )
  pieces, vocab = tokenizer.pieces, tokenizer.vocabulary
  start, end = pieces[vocab.start_id], pieces[vocab.end_id]
  result.post_processor = template((start, vocab.start_id), (end, vocab.end_id))
  result.add_special_tokens(
    [
      AddedToken(pieces[i], normalized=False, lstrip=i == vocab.mask_id)
      for i in vocab.special_ids
    ]
  )
  result.add_tokens(
    [
      AddedToken(piece.piece, normalized=False)
      for piece in proto.pieces
      if piece.type == _USER_DEFINED and piece.piece != MASK
    ]
  )
  return result


def _check_supported(proto) -> None:
  spaces, trainer = proto.normalizer_spec, proto.trainer_spec
  require(
    trainer.model_type in _MODELS
    and trainer.split_by_whitespace
    and not trainer.treat_whitespace_as_suffix
    and spaces.add_dummy_prefix
    and spaces.remove_extra_whitespaces
    and spaces.escape_whitespaces
    and not proto.denormalizer_spec.precompiled_charsmap,
    "only a BPE or unigram model that marks the start of words, and merges "
    "consecutive spaces, can be exported as tokenizer.json",
  )


def _unigram(proto) -> models.Unigram:
  lowest = min(p.score for p in proto.pieces if p.type == _NORMAL)
  # SentencePiece matches only normal pieces in a text, the library all pieces.
  # With so low a score, "<0x0A>" loses to its six characters.
  vocab = [
    (p.piece, p.score if p.type == _NORMAL else 10 * lowest)
    for p in proto.pieces
  ]
  trainer = proto.trainer_spec
  return models.Unigram(vocab, trainer.unk_id, trainer.byte_fallback)


def _bpe(proto) -> models.BPE:
  scores = {p.piece: p.score for p in proto.pieces if p.type == _NORMAL}
  merges = [
    (piece[:i], piece[i:])
    for piece in sorted(scores, key=scores.get, reverse=True)
    for i in range(len(piece) - 1, 0, -1)
    if piece[:i] in scores and piece[i:] in scores
  ]
  return models.BPE(
    vocab={p.piece: i for i, p in enumerate(proto.pieces)},
    merges=merges,
    unk_token=proto.trainer_spec.unk_piece,
    fuse_unk=True,
    byte_fallback=proto.trainer_spec.byte_fallback,
  )


_MODELS = {_UNIGRAM: _unigram, _BPE: _bpe}


def export_tokenizer(
  tokenizer: Tokenizer,
  out: epath.Path,
  max_tokens: int,
  num_types: int = 0,
  check: bool = True,
) -> str:
  """Writes the files that transformers' AutoTokenizer reads.

  The files of an imported tokenizer are written as they are but for where texts
  are cut, unless transformers would make other ids of them than training had.

  Args:
    tokenizer: the tokenizer.
    out: the folder; it has the model's config.json.
    max_tokens: where texts are cut, in tokens.
    num_types: how many token types the model has.
    check: whether to compare with what transformers reads.

  Returns:
    A line of text: whether transformers makes the same ids.

  Raises:
    InputError: it does not.
  """
  config = _config(tokenizer, max_tokens, num_types)
  files = _files(tokenizer, config)
  _write(out, files)
  if not check or not tokenizer_parity.is_possible():
    return "not checked"
  differs = lambda: tokenizer_parity.difference(
    tokenizer, tokenizer_parity.load(out), max_tokens, num_types
  )
  found = differs()
  if not found:
    return "checked: transformers makes the same ids"
  # An imported tokenizer may put other tokens around a text, and what is beside
  # it may be for another class.
  parsed = parse(files, "the tokenizer")
  _put_around(parsed, tokenizer)
  _write(
    out,
    {
      FILE: parsed.to_str(pretty=True).encode(),
      "tokenizer_config.json": json_bytes(config),
    },
  )
  left = differs()
  require(
    not left,
    f"transformers' tokenizer differs: {left}. Please report this; --no-parity "
    "skips the check",
  )
  return f"rewritten for transformers; as imported, {found}"


def _config(tokenizer: Tokenizer, max_tokens: int, num_types: int) -> dict:
  # Models without types do not accept token_type_ids.
  types = ["token_type_ids"] if num_types > 1 else []
  return {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": max_tokens,
    "model_input_names": ["input_ids", *types, "attention_mask"],
    "clean_up_tokenization_spaces": False,
    **_names(tokenizer),
  }


def _names(tokenizer: Tokenizer) -> dict[str, str]:
  pieces, vocab = tokenizer.pieces, tokenizer.vocabulary
  names = {
    "cls_token": pieces[vocab.start_id],
    "sep_token": pieces[vocab.end_id],
    "pad_token": pieces[vocab.pad_id],
    "mask_token": tokenizer.mask_token,
  }
  if vocab.unk_id != vocab.pad_id:
    names["unk_token"] = pieces[vocab.unk_id]
  return names


def _files(tokenizer: Tokenizer, config: dict) -> dict[str, bytes]:
  """Returns the contents of the tokenizer's files by name."""
  mask = {
    "content": tokenizer.mask_token,
    "lstrip": True,
    "rstrip": False,
    "normalized": False,
    "single_word": False,
  }
  names = {**_names(tokenizer), "mask_token": mask}
  files = {
    "special_tokens_map.json": json_bytes(names),
    "tokenizer_config.json": json_bytes(config),
  }
  if not isinstance(tokenizer, HuggingFaceTokenizer):
    made = to_tokenizers(tokenizer).to_str(pretty=True).encode()
    return {**files, FILE: made}
  files |= tokenizer.files
  imported = json.loads(files["tokenizer_config.json"])
  if imported.get("model_max_length") != config["model_max_length"]:
    imported["model_max_length"] = config["model_max_length"]
    files["tokenizer_config.json"] = json_bytes(imported)
  parsed = parse(files, "the tokenizer")
  parsed.no_truncation()
  vocab = tokenizer.vocabulary
  ids = parsed.encode("a b").ids
  if ids[:1] + ids[-1:] != [vocab.start_id, vocab.end_id]:
    # It is one that was never used with special tokens around a text.
    _put_around(parsed, tokenizer)
    files[FILE] = parsed.to_str(pretty=True).encode()
  return files


def _put_around(parsed: tokenizers.Tokenizer, tokenizer: Tokenizer) -> None:
  """Makes it put start and end around texts and pairs, as rows have them."""
  vocab = tokenizer.vocabulary
  start, end = (
    (tokenizer.pieces[i], i) for i in (vocab.start_id, vocab.end_id)
  )
  parsed.post_processor = template(start, end)


def _write(out: epath.Path, files: dict[str, bytes]) -> None:
  out.mkdir(parents=True, exist_ok=True)
  for name, content in files.items():
    (out / name).write_bytes(content)
