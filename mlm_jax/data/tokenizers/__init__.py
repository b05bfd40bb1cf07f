"""Tokenizers, text to ids: SentencePiece models and tokenizer.json files."""

from etils import epath

from mlm_jax.data.tokenizers import (
  sentencepiece,
  tokenizer_files,
  vocab_txt,
)
from mlm_jax.data.tokenizers.base import MASK, SENTINEL, SPACE, Tokenizer
from mlm_jax.data.tokenizers.sentencepiece import SentencePieceTokenizer
from mlm_jax.data.tokenizers.tokenizer_json import HuggingFaceTokenizer
from mlm_jax.data.tokenizers.training import train
from mlm_jax.errors import InputError

__all__ = [
  "MASK",
  "SENTINEL",
  "SPACE",
  "HuggingFaceTokenizer",
  "SentencePieceTokenizer",
  "Tokenizer",
  "load",
  "train",
]


def load(path: epath.Path, vocab_size: int | None = None) -> Tokenizer:
  """Reads a SentencePiece model, a tokenizer.json or a vocab.txt.

  Args:
    path: the file, or a folder with a spm.model, a tokenizer.json or a
      vocab.txt in it.
    vocab_size: rows of the model's embedding table, which may be more than a
      tokenizer.json has tokens.

  Raises:
    InputError: there is none, or it lacks a special token.
  """
  if path.is_dir():
    names = (sentencepiece.SPM_FILE, tokenizer_files.FILE, vocab_txt.FILE)
    found = [path / name for name in names if (path / name).exists()]
    if not found:
      raise InputError(f"no tokenizer in {path}: no {', no '.join(names)}")
    path = found[0]
  if not path.exists():
    raise InputError(f"no tokenizer at {path}")
  if path.suffix in (".json", ".txt"):
    read = tokenizer_files.read if path.suffix == ".json" else vocab_txt.read
    files = read(path)
    return HuggingFaceTokenizer(files, vocab_size, str(path))
  return sentencepiece.SentencePieceTokenizer(path.read_bytes(), str(path))
