"""Recipes are found, read, varied and based on one another."""

import functools
import shutil

import pytest

from mlm_jax import config as config_lib
from mlm_jax import families, recipes, registry
from mlm_jax.errors import InputError
from tests.conftest import ROOT

RECIPES = sorted((ROOT / "configs").glob("*.py"))


@functools.cache
def build(name):
  return config_lib.build(recipes.read(name).values)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_build_and_document_their_command(path):
  build(str(path))
  text = path.read_text()
  assert f"--config={path.stem} " in text
  assert max(map(len, text.splitlines())) <= 80


def test_every_recipe_is_found_by_its_name_from_anywhere(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert list(recipes.shipped()) == [path.stem for path in RECIPES]
  for path in RECIPES:
    assert build(path.stem) == build(str(path))


def test_a_folder_does_not_hide_a_recipe_but_a_file_does(tmp_path, monkeypatch):
  quickstart, bert_large = build("quickstart"), build("bert_large")
  monkeypatch.chdir(tmp_path)
  (tmp_path / "quickstart").mkdir()
  found = config_lib.build(recipes.read("quickstart").values)
  assert found == quickstart
  (tmp_path / "quickstart").rmdir()
  shutil.copy(recipes.shipped()["bert_large"], tmp_path / "quickstart")
  found = config_lib.build(recipes.read("quickstart").values)
  assert found == bert_large


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_has_a_tiny_variant_of_its_family(path):
  full, small = build(path.stem), build(f"{path.stem}:tiny")
  assert small.data.corpus == "tfds:python_docs"
  assert small.model.width <= 128 and small.train.steps <= 2_000
  assert small.objective.name == full.objective.name
  assert small.corruption.kind == full.corruption.kind
  sizes = {"num_layers", "num_decoder_layers", "width", "num_heads"}
  sizes |= {"num_kv_heads", "mlp_width", "embedding_width", "init_stddev"}
  same = sorted({*vars(full.model)} - sizes - {*families.DROPOUTS})
  assert [(key, getattr(small.model, key)) for key in same] == [
    (key, getattr(full.model, key)) for key in same
  ]


@pytest.fixture
def write(tmp_path):
  """Returns a function that writes a recipe file: its path."""

  def write(*lines, name="mine.py"):
    head = "from mlm_jax import config, recipes, registry"
    path = tmp_path / name
    path.write_text("\n".join([head, *lines]))
    return str(path)

  return write


def test_a_recipe_is_a_diff_to_its_base(write):
  base = "recipes.base('bert_large', 'single')"
  lines = ["def get_config():", f"  config = {base}"]
  found = recipes.read(
    write(*lines, "  config.train.steps = 20_000", "  return config")
  )
  assert found.values.model.width == 1024
  assert found.values.train.steps == 20_000
  assert (found.variant, found.phases) == ("", {})
  with pytest.raises(InputError, match="wdth"):
    recipes.read(write(*lines, "  config.model.wdth = 3"))


def test_a_base_may_be_a_variant(write):
  path = write(
    "def get_config():", "  return recipes.base('bert_large', 'tiny')"
  )
  assert recipes.read(path).values == recipes.read("bert_large:tiny").values


@pytest.mark.parametrize("name", ["mine.py", "a:b.py", "a:tiny"])
def test_the_variant_follows_the_last_colon(write, name):
  path = write(
    "def get_config(variant='long'):",
    "  values = config.default()",
    "  values.data.corpus = 'text:' + variant",
    "  return values",
    name=name,
  )
  for variant, given in (("", "long"), ("tiny", "tiny"), ("", "long")):
    found = recipes.read(f"{path}:{variant}" if variant else path)
    assert (found.path, found.variant) == (path, variant)
    assert found.values.data.corpus == f"text:{given}"


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("bert_base:tinny", "unknown variant 'tinny'; known: tiny, single"),
    ("bert_bse:tiny", "did you mean 'bert_base'"),
    ("gs://bucket/recipe.py", "no recipe at gs://bucket/recipe.py$"),
    ("gs://bucket/recipe.py:tiny", "no recipe at gs://bucket/recipe.py$"),
    ("C:\\recipes\\none.py", "no recipe at C:"),
  ],
)
def test_unknown_recipes_and_variants_raise_input_error(name, said):
  with pytest.raises(InputError, match=said):
    recipes.read(name)


def test_a_recipe_without_an_argument_has_no_variants(write):
  path = write("def get_config():", "  return config.default()")
  assert recipes.read(path).values == recipes.read("bert_base").values
  with pytest.raises(InputError, match=r"mine.py: .*no variant.*'tiny'"):
    recipes.read(f"{path}:tiny")


GET = "get_config = lambda variant='': config.default()"


def test_phases_are_kept_in_order(write):
  path = write(
    GET,
    "def get_phases(variant=''):",
    "  steps = 10 if variant else 1_000",
    "  return {'warm': {'train.steps': steps}, 'a': {'data.seq_len': 64}}",
  )
  found = recipes.read(path)
  assert list(found.phases) == ["warm", "a"]
  assert found.phases["warm"] == {"train.steps": 1_000}
  assert recipes.read(f"{path}:tiny").phases["warm"] == {"train.steps": 10}


@pytest.mark.parametrize(
  "phases", ["None", "['a']", "{'a': 3}", "{3: {}}", "{'a': {'seqlen': 3}}"]
)
def test_malformed_phases_raise_input_error(write, phases):
  path = write(GET, f"get_phases = lambda: {phases}")
  with pytest.raises(InputError, match=r"mine.py: .*(get_phases|seqlen)"):
    recipes.read(path)


def test_a_recipe_that_registers_its_own_kind_may_be_read_again(write):
  path = write("registry.SCHEDULES.register('triangle', print)", GET)
  for _ in range(2):
    recipes.read(path)
    assert registry.SCHEDULES.registered_by("triangle") == path
  registry.SCHEDULES.forget(path)


def test_a_recipe_that_registers_a_known_name_raises_input_error(write):
  path = write("registry.SCHEDULES.register('linear', print)", GET)
  with pytest.raises(InputError, match=r"mine.py: .*'linear' is already"):
    recipes.read(path)


def test_a_recipe_based_on_itself_raises_input_error(write, tmp_path):
  mine = tmp_path / "mine.py"
  path = write(f"get_config = lambda: recipes.base({str(mine)!r})")
  with pytest.raises(InputError, match="based on itself"):
    recipes.read(path)
