"""tokenizer.json files behave as SentencePiece models do.

One of each kind is trained here: WordPiece like BERT's, byte-level BPE like
RoBERTa's, and Unigram like XLM-R's.
"""

import json

import numpy as np
import pytest
import tokenizers
from etils import epath
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from mlm_jax.data import prepare as prepare_lib
from mlm_jax.data import rows as rows_lib
from mlm_jax.data.tokenizers import load
from mlm_jax.data.tokenizers.tokenizer_files import FILE, read
from mlm_jax.data.tokenizers.tokenizer_json import HuggingFaceTokenizer
from mlm_jax.errors import InputError
from mlm_jax.workdir import Workdir

SIZE = 600
BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def wordpiece(prose):
  made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
  made.normalizer = normalizers.BertNormalizer(lowercase=True)
  made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  made.decoder = decoders.WordPiece()
  trainer = trainers.WordPieceTrainer(
    vocab_size=SIZE, special_tokens=BERT, show_progress=False
  )
  made.train_from_iterator(prose, trainer)
  return made


# As in transformers, a mask includes the space before it.
MASK = tokenizers.AddedToken("<mask>", lstrip=True, special=True)


def byte_level(prose):
  made = tokenizers.Tokenizer(models.BPE())
  made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
  made.decoder = decoders.ByteLevel()
  trainer = trainers.BpeTrainer(
    vocab_size=SIZE,
    special_tokens=["<s>", "<pad>", "</s>", MASK, "<|extra|>"],
    initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    show_progress=False,
  )
  made.train_from_iterator(prose, trainer)
  return made


def metaspace(prose):
  made = tokenizers.Tokenizer(models.Unigram())
  made.normalizer = normalizers.NFKC()
  made.pre_tokenizer = pre_tokenizers.Metaspace()
  made.decoder = decoders.Metaspace()
  trainer = trainers.UnigramTrainer(
    vocab_size=SIZE,
    special_tokens=[*ROBERTA[:-1], MASK],
    unk_token="<unk>",
    show_progress=False,
  )
  made.train_from_iterator(prose, trainer)
  return made


KINDS = {f.__name__: f for f in (wordpiece, byte_level, metaspace)}


@pytest.fixture(scope="session")
def trained(prose):
  return {kind: {FILE: save(KINDS[kind](prose))} for kind in KINDS}


def save(tokenizer):
  return tokenizer.to_str().encode()


@pytest.fixture(params=list(KINDS))
def kind(request):
  return request.param


@pytest.fixture
def hf(trained, kind):
  return HuggingFaceTokenizer(trained[kind])


def test_special_tokens_are_found_by_role(hf, kind):
  vocab = hf.vocabulary
  ids = (vocab.start_id, vocab.end_id, vocab.pad_id, vocab.unk_id)
  names = [hf.pieces[i] for i in (*ids, vocab.mask_id)]
  assert (
    names
    == {
      "wordpiece": ["[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"],
      "byte_level": ["<s>", "</s>", "<pad>", "<pad>", "<mask>"],
      "metaspace": ["<s>", "</s>", "<pad>", "<unk>", "<mask>"],
    }[kind]
  )
  others = [hf.pieces[i] for i in vocab.other_special_ids]
  assert others == (["<|extra|>"] if kind == "byte_level" else [])
  assert vocab.size == len(hf.pieces) == len(set(hf.pieces))


def test_starts_word_is_true_for_pieces_after_a_space(hf, kind, prose):
  """Each word has one such piece; byte-level BPE has none for the first."""
  for text in prose[:50]:
    words = [word for word in text.split() if word.isalpha()]
    (ids,) = hf.encode([" ".join(["a", *words])])
    num_starts = hf.vocabulary.starts_word[ids].sum()
    assert num_starts == len(words) + (kind != "byte_level"), text
  assert not hf.vocabulary.starts_word[list(hf.vocabulary.special_ids)].any()


def test_display_text_has_a_space_before_the_start_of_a_word(hf, kind):
  (ids,) = hf.encode(["see the statement"])
  texts = [hf.display_text(i) for i in ids]
  first = "see" if kind == "byte_level" else " see"
  assert "".join(texts) == first + " the statement"
  for i, starts in enumerate(hf.vocabulary.starts_word):
    if i not in hf.vocabulary.special_ids and hf.pieces[i] != "":
      assert hf.display_text(i).startswith(" ") == starts


def test_display_text_is_printable(trained):
  hf = HuggingFaceTokenizer(trained["byte_level"])
  assert all(
    hf.display_text(i).isprintable() and "\ufffd" not in hf.display_text(i)
    for i in range(hf.vocabulary.size)
  )


def test_prose_round_trips(hf, kind, prose):
  for text, ids in zip(prose, hf.encode(prose), strict=True):
    if kind == "byte_level":
      assert hf.decode(ids) == text
    elif kind == "metaspace" and text.isascii() and "  " not in text:
      assert hf.decode(ids) == text.removeprefix(" ")


def test_stored_truncation_and_padding_are_ignored(trained, kind):
  stored = tokenizers.Tokenizer.from_str(trained[kind][FILE].decode())
  stored.enable_truncation(4)
  stored.enable_padding(length=64)
  hf = HuggingFaceTokenizer({FILE: save(stored)})
  texts = ["see", "see the statement of the value"]
  assert hf.encode(texts) == HuggingFaceTokenizer(trained[kind]).encode(texts)


def test_special_tokens_spelled_in_a_text_are_text(hf):
  """In a row, a start token would otherwise begin another document."""
  text = " ".join(["the", *BERT, *ROBERTA, "list"])
  (ids,) = hf.encode([text])
  specials = set(hf.vocabulary.special_ids) - {hf.vocabulary.unk_id}
  assert not specials & set(ids)


@pytest.mark.parametrize("text", ["the [MASK] of [MASK].", "[MASK]"])
def test_masks_are_found_by_both_spellings(hf, text):
  ids = hf.encode_with_masks(text)
  assert ids.count(hf.vocabulary.mask_id) == text.count("[MASK]")
  own = text.replace("[MASK]", hf.mask_token)
  assert hf.encode_with_masks(own) == ids
  # Without masks asked for, they are text again.
  assert hf.vocabulary.mask_id not in hf.encode([own])[0]
  if " of" in text:
    assert ids[: ids.index(hf.vocabulary.mask_id)] == hf.encode(["the"])[0]


def test_embedding_rows_without_a_token_are_special(trained, kind):
  own = HuggingFaceTokenizer(trained[kind])
  larger = HuggingFaceTokenizer(trained[kind], own.num_tokens + 7)
  assert larger.vocabulary.size == larger.num_tokens + 7
  past = set(range(own.num_tokens, own.num_tokens + 7))
  assert set(larger.vocabulary.special_ids) == past | set(
    own.vocabulary.special_ids
  )
  assert (
    len(larger.pieces)
    == len(larger.vocabulary.starts_word)
    == own.num_tokens + 7
  )
  assert larger.identity == own.identity
  assert larger.decode([*own.encode(["the"])[0], own.num_tokens]) == "the"
  with pytest.raises(InputError, match=rf"vocab_size={own.num_tokens - 1}"):
    HuggingFaceTokenizer(trained[kind], own.num_tokens - 1)


def test_unused_placeholders_are_special_tokens():
  ids = {piece: i for i, piece in enumerate([*BERT, "[unused7]", "word"])}
  model = models.WordPiece(ids, unk_token="[UNK]")
  hf = HuggingFaceTokenizer({FILE: save(tokenizers.Tokenizer(model))})
  assert hf.vocabulary.other_special_ids == (5,)


def test_naming_files_take_precedence_over_usual_spellings(trained):
  names = {
    "cls_token": {"content": "<|extra|>", "lstrip": False},
    "bos_token": "<s>",
    "eos_token": None,
    "extra_special_tokens": ["<s>"],
  }
  files = {
    **trained["byte_level"],
    "special_tokens_map.json": json.dumps(names).encode(),
  }
  hf = HuggingFaceTokenizer(files)
  assert hf.pieces[hf.vocabulary.start_id] == "<|extra|>"
  assert hf.pieces[hf.vocabulary.end_id] == "</s>"
  assert [hf.pieces[i] for i in hf.vocabulary.other_special_ids] == ["<s>"]
  # Rows with another start token are different rows.
  plain = HuggingFaceTokenizer(trained["byte_level"])
  assert hf.identity != plain.identity
  config = json.dumps({"cls_token": "<s>"}).encode()
  both = HuggingFaceTokenizer({**files, "tokenizer_config.json": config})
  assert both.pieces[both.vocabulary.start_id] == "<s>"


@pytest.mark.parametrize(
  ("names", "said"),
  [
    ({"mask_token": "[BLANK]"}, "no mask token .*--add_mask_token"),
    ({"pad_token": "[NONE]"}, "no pad token"),
    ({"cls_token": "[NONE]"}, r"no start token \(cls_token or bos_token\)"),
    ({"sep_token": "[NONE]"}, "no end token"),
    ({"cls_token": "[SEP]"}, r"the start token of .* too: \[SEP\]"),
    ({"cls_token": "[PAD]"}, r"the start token of .* too: \[PAD\]"),
  ],
)
def test_missing_special_token_raises_input_error(trained, names, said):
  config = json.dumps(names).encode()
  files = {**trained["wordpiece"], "tokenizer_config.json": config}
  with pytest.raises(InputError, match=said) as raised:
    HuggingFaceTokenizer(files)
  assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"model": 3}', "\0"])
def test_invalid_tokenizer_json_raises_input_error(tmp_path, content):
  (tmp_path / FILE).write_text(content)
  for path in (tmp_path, tmp_path / FILE):
    with pytest.raises(InputError, match=r"is not a tokenizer\.json"):
      load(epath.Path(path))


@pytest.mark.parametrize("content", [b"{", b"[1]", b"3"])
def test_invalid_naming_file_raises_input_error(trained, content):
  files = {**trained["wordpiece"], "special_tokens_map.json": content}
  with pytest.raises(InputError, match=r"special_tokens_map\.json"):
    HuggingFaceTokenizer(files)


def test_saved_tokenizer_loads_unchanged(trained, kind, prose, tmp_path):
  config = b'{"model_max_length": 512}'
  files = {**trained[kind], "tokenizer_config.json": config}
  hf = HuggingFaceTokenizer(files, SIZE + 20)
  folder = epath.Path(tmp_path) / "tokenizer"
  hf.save(folder)
  assert read(folder / FILE) == files
  for path in (folder, folder / FILE):
    again = load(path, SIZE + 20)
    assert again.vocabulary == hf.vocabulary
    assert again.identity == hf.identity
    assert again.encode(prose) == hf.encode(prose)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
def test_unknown_tokens_are_counted_and_said(
  trained, prose, make_config, tmp_path, share
):
  """Of text in a script that the tokenizer does not know."""
  words = " ".join(prose).split()[:4_000]
  count = round(share / (1 - share) * len(words)) if share else 0
  foreign = ["\u0434\u043e\u043c"] * count
  documents = [" ".join(some) for some in (words, foreign) if some]
  (tmp_path / "corpus.txt").write_text("\n\n".join(documents))
  tokenizer = HuggingFaceTokenizer(trained["wordpiece"])
  tokenizer.save(epath.Path(tmp_path) / "own")
  config = make_config(
    **{
      "data.corpus": f"text:{tmp_path}/corpus.txt",
      "data.tokenizer": f"{tmp_path}/own",
      "data.vocab_size": tokenizer.vocabulary.size,
      "data.heldout_fraction": 0.0,
    }
  )
  workdir, lines = Workdir.at(tmp_path / "work"), []
  _, stores = prepare_lib.prepare(config, workdir, lines.append)
  encoded = np.concatenate(tokenizer.encode(documents))
  unknown = np.mean(encoded == tokenizer.vocabulary.unk_id)
  info = stores.sources[""].info["train"]
  assert info.unknown_share == pytest.approx(unknown, abs=1e-6)
  said = [line for line in lines if line.startswith("Unknown tokens: ")]
  assert len(said) == (share > 0)
  assert (unknown > 0.02) == (share > 0)


def test_prepare_rows_with_a_tokenizer_json(
  trained, kind, prose, make_config, tmp_path
):
  (tmp_path / "corpus.txt").write_text("\n\n".join(prose))
  HuggingFaceTokenizer(trained[kind]).save(epath.Path(tmp_path) / "own")
  config = make_config(
    **{
      "data.corpus": f"text:{tmp_path}/corpus.txt",
      "data.tokenizer": f"{tmp_path}/own",
      "data.vocab_size": 640,
      "data.heldout_fraction": 0.1,
      "data.packing": "single",
    }
  )
  workdir = Workdir.at(tmp_path / "work")
  # As left by an interrupted command.
  (tmp_path / "work" / "tokenizer").mkdir(parents=True)
  (tmp_path / "work" / "tokenizer" / "spm.model").write_text("half a mod")
  hf, stores = prepare_lib.prepare(config, workdir, print)
  store = stores.sources[""]
  workdir.save_config(config)
  rows = store.read("train", np.arange(store.info["train"].num_rows))
  assert (rows[:, 0] == hf.vocabulary.start_id).all()
  assert ((rows == hf.vocabulary.start_id).sum(axis=1) == 1).all()
  assert rows.max() < hf.num_tokens <= 640 == hf.vocabulary.size
  for again, same in (
    prepare_lib.prepare(config, workdir, print),
    prepare_lib.load(config, workdir),
  ):
    assert again.vocabulary == hf.vocabulary
    same = same.sources[""]
    assert same.path == store.path and rows_lib.is_finished(same.path)
  names = {path.name for path in workdir.tokenizer.iterdir()}
  assert names == {FILE}
