"""An imported tokenizer keeps its own ids, and takes new tokens."""

import json
import subprocess
import sys

import pytest
import tokenizers
from etils import epath
from tokenizers import models

from mlm_jax.data.tokenizers.tokenizer_files import FILE, template
from mlm_jax.data.tokenizers.tokenizer_json import HuggingFaceTokenizer
from mlm_jax.errors import InputError
from mlm_jax.hf.tokenizer_export import export_tokenizer
from mlm_jax.hf.tokenizer_import import add_tokens, import_tokenizer

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture
def words(tmp_path):
  """Returns a function that writes a small WordPiece tokenizer to a folder."""

  def write(specials=BERT, adds_specials=False, **names):
    vocab = [*specials, "the", "co", "##vid", "##id", "list", "."]
    ids = {piece: i for i, piece in enumerate(vocab)}
    result = tokenizers.Tokenizer(models.WordPiece(ids, unk_token=specials[1]))
    result.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    result.add_special_tokens(specials)
    if adds_specials:
      result.post_processor = template(
        (specials[2], ids[specials[2]]), (specials[3], ids[specials[3]])
      )
    (tmp_path / FILE).write_text(result.to_str())
    if names:
      (tmp_path / "tokenizer_config.json").write_text(json.dumps(names))
    return epath.Path(tmp_path)

  return write


def test_imported_files_are_exported_unchanged(words, tmp_path):
  folder = words(
    mask_token="[MASK]", odd=3, model_max_length=128, adds_specials=True
  )
  hf = import_tokenizer(folder, 20)
  out = epath.Path(tmp_path) / "out"
  export_tokenizer(hf, out, max_tokens=128, check=False)
  for name in (FILE, "tokenizer_config.json"):
    assert (out / name).read_bytes() == (tmp_path / name).read_bytes()
  again = import_tokenizer(out, 20)
  assert again.vocabulary == hf.vocabulary


@pytest.fixture
def byte_level():
  """A tokenizer of bytes that has the word "list", after a space."""
  specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
  pairs = [("l", "i"), ("s", "t"), ("li", "st"), ("Ġ", "list"), ("z", "o")]
  alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
  pieces = [*specials, *alphabet, *map("".join, pairs)]
  made = tokenizers.Tokenizer(
    models.BPE({piece: i for i, piece in enumerate(pieces)}, pairs)
  )
  made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(False)
  made.decoder = tokenizers.decoders.ByteLevel()
  made.add_special_tokens(specials)
  return HuggingFaceTokenizer({FILE: made.to_str().encode()})


def test_a_new_word_of_bytes_takes_the_space_before_it(byte_level):
  added, spelled = add_tokens(byte_level, ["zorg", "list"])
  (new,) = spelled
  # What "list" is after a space was a token already.
  assert added.pieces[new] == "zorg"
  assert spelled[new] == byte_level.encode([" zorg"])[0]
  (ids,) = added.encode(["a zorg list, zorgs"])
  assert [added.display_text(i) for i in ids[:3]] == ["a", " zorg", " list"]
  assert new not in ids[3:]
  assert added.vocabulary.starts_word[new]
  assert added.vocabulary.spellings[new] == b" zorg"
  for text in ("a zorg list", "zorg", "a zorg zorg."):
    assert added.decode(added.encode([text])[0]) == text


def test_a_word_in_capitals_is_not_new_to_lower_case(words):
  folder = words()
  spec = json.loads((folder / FILE).read_text())
  spec["normalizer"] = {"type": "Lowercase"}
  (folder / FILE).write_text(json.dumps(spec))
  hf = import_tokenizer(folder, 11)
  added, spelled = add_tokens(hf, ["List", "Coco", "coco", "the"])
  assert [added.pieces[i] for i in spelled] == ["Coco"]


def test_new_tokens_use_free_rows_first(words):
  hf = import_tokenizer(words(), 12)
  added, spelled = add_tokens(hf, ["covid", "list", "coid"])
  assert added.pieces[11:] == ["covid", "coid"]
  assert spelled == {
    11: [hf.pieces.index("co"), hf.pieces.index("##vid")],
    12: [hf.pieces.index("co"), hf.pieces.index("##id")],
  }
  assert (hf.vocabulary.size, added.vocabulary.size) == (12, 13)
  assert added.encode(["the covid ."]) == [[5, 11, 10]]
  assert hf.encode(["the covid ."]) == [[5, 6, 7, 10]]
  assert 11 in hf.vocabulary.special_ids
  assert not {11, 12} & set(added.vocabulary.special_ids)
  assert added.identity != hf.identity
  same, none = add_tokens(added, ["covid"])
  assert none == {} and same.vocabulary == added.vocabulary


def test_new_tokens_do_not_change_other_words(words):
  hf = import_tokenizer(words(), 12)
  # "co" is a piece already; "covi" is a prefix of a word that is not new.
  added, _ = add_tokens(hf, ["co", "covi"])
  for text in ("the covid .", "co list", "xcovi covix"):
    assert added.encode([text]) == hf.encode([text])
  assert added.encode(["covi"]) == [[added.pieces.index("covi")]]


def test_new_special_tokens_are_special(words):
  hf = import_tokenizer(words(), 11)
  added, _ = add_tokens(hf, ["[ENTITY]"], special=True)
  assert added.vocabulary.other_special_ids == (11,)


@pytest.mark.parametrize(
  ("specials", "vocab_size", "mask", "size"),
  [
    (BERT[:4], 10, "[MASK]", 11),
    (BERT[:4], 16, "[MASK]", 16),
    (["<pad>", "<unk>", "<s>", "</s>"], 10, "<mask>", 11),
  ],
)
@pytest.mark.parametrize("names", [{}, {"odd": 3}])
def test_add_mask_token_to_a_tokenizer_without_one(
  words, tmp_path, specials, vocab_size, mask, size, names
):
  folder = words(specials, **names)
  with pytest.raises(InputError, match=r"no mask token .*--add_mask_token"):
    import_tokenizer(folder, vocab_size)
  hf = import_tokenizer(folder, vocab_size, add_mask_token=True)
  assert hf.mask_token == mask
  assert hf.vocabulary.mask_id == 10
  assert hf.vocabulary.size == size
  assert hf.encode_with_masks("the [MASK].") == [4, 10, 9]
  hf.save(epath.Path(tmp_path) / "saved")
  again = import_tokenizer(epath.Path(tmp_path) / "saved", size)
  assert again.vocabulary == hf.vocabulary


@pytest.mark.parametrize("add", [False, True])
def test_an_embedding_table_too_small_is_an_input_error(words, add):
  folder = words(BERT[:4] if add else BERT)
  with pytest.raises(InputError, match=r"has 1[01] tokens"):
    import_tokenizer(folder, 9, add)


def test_a_second_mask_token_is_an_input_error(words):
  with pytest.raises(InputError, match="already has a mask token"):
    import_tokenizer(words(), 20, add_mask_token=True)


def test_a_folder_without_a_tokenizer_is_an_input_error(tmp_path):
  with pytest.raises(InputError, match=f"no tokenizer in {tmp_path}"):
    import_tokenizer(epath.Path(tmp_path), 20)


def test_an_older_tokenizer_is_converted(tmp_path):
  pytest.importorskip("transformers")
  (tmp_path / "vocab.txt").write_text("\n".join([*BERT, "the", "list"]))
  config = {"tokenizer_class": "BertTokenizer"}
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
  hf = import_tokenizer(epath.Path(tmp_path), 8)
  assert hf.encode_with_masks("the [MASK] LIST") == [5, 4, 6]


def test_an_older_tokenizer_needs_transformers(tmp_path, monkeypatch):
  (tmp_path / "vocab.txt").write_text("\n".join(BERT))
  monkeypatch.setitem(sys.modules, "transformers", None)
  with pytest.raises(InputError, match=r"pip install 'mlm_jax\[hf\]'"):
    import_tokenizer(epath.Path(tmp_path), 8)


def test_code_in_the_folder_is_never_run(tmp_path):
  pytest.importorskip("transformers")
  (tmp_path / "vocab.txt").write_text("\n".join(BERT))
  config = {
    "tokenizer_class": "Odd",
    "auto_map": {"AutoTokenizer": ["odd.Odd", "odd.Odd"]},
  }
  (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
  marker = tmp_path / "ran"
  (tmp_path / "odd.py").write_text(
    f"open({str(marker)!r}, 'w').close()\nclass Odd: pass\n"
  )
  with pytest.raises(InputError) as raised:
    import_tokenizer(epath.Path(tmp_path), 8)
  assert "\n" not in str(raised.value)
  assert not marker.exists()


def test_tokenizers_do_not_import_transformers():
  code = (
    "import sys; sys.modules['transformers'] = None; "
    "import mlm_jax.data.tokenizers.tokenizer_json, mlm_jax.hf.tokenizer_import"
  )
  subprocess.run([sys.executable, "-c", code], check=True)


def test_a_tokenizer_with_unused_ids_takes_no_new_token(tmp_path):
  vocab = {piece: i for i, piece in enumerate([*BERT, "the"])} | {"list": 9}
  model = models.WordPiece(vocab, unk_token="[UNK]")
  files = {FILE: tokenizers.Tokenizer(model).to_str().encode()}
  hf = HuggingFaceTokenizer(files)
  assert hf.vocabulary.other_special_ids == (6, 7, 8)
  assert hf.encode(["list"]) == [[9]]
  with pytest.raises(InputError, match="ids without a token"):
    add_tokens(hf, ["covid"])
