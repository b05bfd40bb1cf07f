"""Tokenizers are compared with what transformers makes of their files."""

import json

import pytest
import tokenizers
from etils import epath
from tokenizers import models, normalizers, pre_tokenizers

from mlm_jax.data.tokenizers import HuggingFaceTokenizer, load
from mlm_jax.data.tokenizers.tokenizer_files import FILE
from mlm_jax.errors import InputError
from mlm_jax.hf import tokenizer_parity
from mlm_jax.hf.tokenizer_export import export_tokenizer
from mlm_jax.hf.tokenizer_import import (
  as_transformers_reads_it,
  import_tokenizer,
)

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,'"


@pytest.fixture
def folder(tmp_path):
  """Returns a function that writes a WordPiece tokenizer of letters."""

  def write(lowercase, **config):
    pieces = [*SPECIALS, *LETTERS, *("##" + letter for letter in LETTERS)]
    made = tokenizers.Tokenizer(
      models.WordPiece(
        {piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"
      )
    )
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(SPECIALS)
    path = epath.Path(tmp_path) / "model"
    path.mkdir()
    (path / FILE).write_text(made.to_str())
    (path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path

  return write


def compared(tokenizer, folder):
  theirs = tokenizer_parity.load(folder)
  return tokenizer_parity.difference(tokenizer, theirs, 64, 2)


@pytest.mark.parametrize("lowercase", [True, False])
def test_lower_casing_is_as_transformers_has_it(folder, lowercase):
  """tokenizer.json says one thing, and tokenizer_config.json the other."""
  path = folder(
    not lowercase, tokenizer_class="BertTokenizer", do_lower_case=lowercase
  )
  ours = import_tokenizer(path, 200)
  assert "it makes" in compared(ours, path)
  theirs, line = as_transformers_reads_it(ours, path, 64)
  assert line.startswith("taken as transformers reads it")
  expected = tokenizer_parity.load(path)("Abc aBC")["input_ids"]
  assert theirs.encode(["Abc aBC"])[0] == expected[1:-1]
  assert theirs.encode(["Abc"]) != ours.encode(["Abc"])
  again, line = as_transformers_reads_it(theirs, path, 64)
  assert again is theirs and line.startswith("checked")


def test_an_exported_tokenizer_adds_start_and_end(folder, tmp_path):
  ours = load(folder(True, tokenizer_class="PreTrainedTokenizerFast"))
  out = epath.Path(tmp_path) / "out"
  assert "checked" in export_tokenizer(ours, out, 64)
  theirs = tokenizer_parity.load(out)
  ids = theirs("the list")["input_ids"]
  vocab = ours.vocabulary
  assert (ids[0], ids[-1]) == (vocab.start_id, vocab.end_id)
  assert len(theirs("list " * 64, truncation=True)["input_ids"]) == 64
  assert "token_type_ids" not in theirs("a", "b")


def test_an_exported_tokenizer_gives_pairs_their_types(folder, tmp_path):
  path = folder(
    True,
    tokenizer_class="PreTrainedTokenizerFast",
    model_input_names=["input_ids", "attention_mask"],
  )
  ours = load(path)
  out = epath.Path(tmp_path) / "out"
  line = export_tokenizer(ours, out, 64, num_types=2)
  assert "rewritten for transformers" in line and "token_type_ids" in line
  assert tokenizer_parity.load(out)("a", "b")["token_type_ids"] == [
    *(0, 0, 0),
    *(1, 1),
  ]


def test_an_added_mask_is_in_what_transformers_reads(folder):
  path = folder(False, tokenizer_class="BertTokenizer", do_lower_case=True)
  spec = (path / FILE).read_text().replace("[MASK]", "[GAP]")
  (path / FILE).write_text(spec)
  ours = import_tokenizer(path, 200, add_mask_token=True)
  theirs, line = as_transformers_reads_it(ours, path, 64, add_mask_token=True)
  assert line.startswith("taken as transformers reads it")
  assert theirs.mask_token == "[MASK]"
  assert theirs.encode(["ABC"]) == theirs.encode(["abc"])


def test_a_tokenizer_that_finds_nothing_in_a_text_is_exported(tmp_path):
  made = tokenizers.Tokenizer(
    models.BPE({p: i for i, p in enumerate([*SPECIALS, *"ACGT"])}, [])
  )
  made.add_special_tokens(SPECIALS)
  ours = HuggingFaceTokenizer({FILE: made.to_str().encode()})
  out = epath.Path(tmp_path) / "out"
  export_tokenizer(ours, out, 64, check=False)
  ids = tokenizer_parity.load(out)("GATTACA")["input_ids"]
  assert ids == [2, *ours.encode(["GATTACA"])[0], 3] and len(ids) == 9


def test_what_transformers_cannot_read_is_an_input_error(folder):
  path = folder(True)
  (path / FILE).write_text("{}")
  with pytest.raises(InputError, match="cannot read the tokenizer"):
    tokenizer_parity.load(path)


def test_a_tokenizer_of_python_code_alone_is_refused(tmp_path):
  words = [*SPECIALS, "あ", "い", "##あ", "##い"]
  (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
  (tmp_path / "tokenizer_config.json").write_text(
    json.dumps(
      {
        "tokenizer_class": "BertJapaneseTokenizer",
        "word_tokenizer_type": "basic",
        "subword_tokenizer_type": "character",
      }
    )
  )
  with pytest.raises(InputError, match=r"BertJapaneseTokenizer.* Python code"):
    import_tokenizer(epath.Path(tmp_path), 9)
