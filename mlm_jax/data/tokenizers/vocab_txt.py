"""vocab.txt, BERT's WordPiece vocabulary: a token a line."""

import json

import tokenizers
from etils import epath
from tokenizers import decoders, models, normalizers, pre_tokenizers

from mlm_jax.config.data import SPECIAL_TOKENS
from mlm_jax.data.tokenizers import tokenizer_files
from mlm_jax.errors import InputError

FILE = "vocab.txt"
_UNKNOWN = "[UNK]"


def read(path: epath.Path) -> dict[str, bytes]:
  """Returns the tokenizer.json of a vocab.txt, with its NAMING_FILES.

  Text is lowercased unless a tokenizer_config.json beside it says otherwise.

  Raises:
    InputError: it is no such file.
  """
  try:
    tokens = path.read_text().splitlines()
  except UnicodeDecodeError as error:
    raise InputError(f"{path} is not UTF-8 text") from error
  ids = {token.rstrip(): number for number, token in enumerate(tokens)}
  if _UNKNOWN not in ids:
    raise InputError(f"{path} has no {_UNKNOWN}: it is no WordPiece vocabulary")
  files = tokenizer_files.naming_files(path)
  config = json.loads(files.get("tokenizer_config.json", b"{}"))
  made = tokenizers.Tokenizer(models.WordPiece(ids, unk_token=_UNKNOWN))
  made.normalizer = normalizers.BertNormalizer(
    lowercase=config.get("do_lower_case", True),
    handle_chinese_chars=config.get("tokenize_chinese_chars", True),
    strip_accents=config.get("strip_accents"),
  )
  made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  made.decoder = decoders.WordPiece()
  made.add_special_tokens([token for token in SPECIAL_TOKENS if token in ids])
  if {"[CLS]", "[SEP]"} <= ids.keys():
    made.post_processor = tokenizer_files.template(
      ("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])
    )
  return {tokenizer_files.FILE: made.to_str().encode(), **files}
