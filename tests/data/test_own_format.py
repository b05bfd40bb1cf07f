"""A recipe file may register a corpus format of its own."""

import pytest

from mlm_jax import recipes, registry
from mlm_jax.config import DataConfig
from mlm_jax.data import prepare as prepare_lib
from mlm_jax.data import sources
from mlm_jax.errors import InputError
from mlm_jax.workdir import Workdir

RECIPE = """
from mlm_jax import config, registry

get_config = config.default

@registry.CORPUS_FORMATS.register("lines")
def read(spec, data):
  with open(spec) as file:
    yield from file
"""

IDENTITY = """
read.identity = lambda spec, data: [open(spec).read()]
"""

BYTES = """
from mlm_jax import config, registry

get_config = config.default

@registry.CORPUS_FORMATS.register("bytes")
def read(spec, data):
  yield b"text"
"""


@pytest.fixture
def register(tmp_path):
  """Returns a function that reads a recipe file, which registers a format."""
  path = tmp_path / "recipe.py"

  def register(recipe):
    path.write_text(recipe)
    recipes.read(str(path))

  yield register
  registry.CORPUS_FORMATS.forget(str(path))


@pytest.fixture
def prepare(tmp_path, prose, make_config, tokenizer):
  """Returns a function that prepares a corpus of lines in a new workdir."""
  (tmp_path / "spm.model").write_bytes(tokenizer.model)
  corpus = tmp_path / "corpus"
  corpus.write_text("\n".join(prose))
  config = make_config(
    **{
      "data.corpus": f"lines:{corpus}",
      "data.tokenizer": str(tmp_path / "spm.model"),
      "data.vocab_size": tokenizer.vocabulary.size,
      "data.heldout_fraction": 0.1,
      "data.rows_dir": str(tmp_path / "rows"),
    }
  )

  def prepare(workdir, added=""):
    corpus.write_text(corpus.read_text() + added)
    workdir = Workdir.at(tmp_path / workdir)
    return prepare_lib.prepare(config, workdir, print)[1].sources[""]

  return prepare


def test_registered_format_is_read_and_prepared(register, prepare, tmp_path):
  register(RECIPE)
  store = prepare("work", added="\none more line\n")
  data = DataConfig(corpus=f"lines:{tmp_path}/corpus")
  documents = list(sources.read_documents(data))
  assert documents[-1] == "one more line"
  counts = [info.num_documents for info in store.info.values()]
  assert min(counts) > 0
  assert sum(counts) == len(documents)


def test_identity_defaults_to_the_spec(register, prepare, tmp_path):
  """So content that changes under the same spec goes unnoticed."""
  register(RECIPE)
  corpus = f"lines:{tmp_path}/corpus"
  assert sources.identity(DataConfig(corpus=corpus)) == [corpus]
  store = prepare("one")
  assert prepare("two", added="\none more line").path == store.path


def test_identity_attribute_detects_changed_content(register, prepare):
  register(RECIPE + IDENTITY)
  store = prepare("one")
  assert prepare("two").path == store.path
  assert prepare("three", added="\none more line").path != store.path


def test_unknown_format_suggests_a_registered_one(register):
  with pytest.raises(InputError, match=r"data\.corpus"):
    sources.identity(DataConfig(corpus="lines:a"))
  register(RECIPE)
  with pytest.raises(InputError, match=r"data\.corpus.*'lines:\.\.\.'"):
    sources.identity(DataConfig(corpus="line:a"))


def test_unreadable_corpus_raises_input_error(register):
  register(RECIPE)
  with pytest.raises(InputError, match=r"data\.corpus='lines:/nowhere'"):
    list(sources.read_documents(DataConfig(corpus="lines:/nowhere")))


def test_documents_must_be_strings(register):
  register(BYTES)
  with pytest.raises(InputError, match=r"data\.corpus='bytes:'.*strings"):
    list(sources.read_documents(DataConfig(corpus="bytes:")))
