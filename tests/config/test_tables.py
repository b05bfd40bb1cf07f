"""Tables of corpora, such as data.sources, whose names a recipe chooses."""

import dataclasses

import pytest

from mlm_jax import config as config_lib
from mlm_jax import recipes
from mlm_jax.cli import overrides
from mlm_jax.config import CorpusConfig, SourceConfig
from mlm_jax.errors import InputError
from mlm_jax.phases import Recipe, from_json

NEWS = {
  "data.sources.news.corpus": "text:news/*.txt",
  "data.sources.news.weight": 3.0,
}
WIKI = {
  "data.sources.wiki.corpus": "jsonl:wiki.jsonl",
  "data.sources.wiki.text_field": "body",
}
VALIDATION = {"data.validation.own.corpus": "text:own.txt"}


@pytest.fixture
def two(make_config):
  return make_config(**NEWS, **WIKI, **VALIDATION)


def test_a_recipe_names_the_groups_of_a_table():
  config = config_lib.default()
  config.data.sources.update(
    news={"corpus": "text:news/*.txt", "weight": 3},
    wiki={"corpus": "jsonl:wiki.jsonl", "text_field": "body"},
  )
  config.data.sources.wiki.weight = 0.5
  assert config_lib.build(config).data.sources == {
    "news": SourceConfig("text:news/*.txt", weight=3),
    "wiki": SourceConfig("jsonl:wiki.jsonl", "body", weight=0.5),
  }


def test_flat_values_and_json_give_the_configuration_back(two):
  flat = config_lib.flat(two)
  assert flat.items() >= {**NEWS, **WIKI, **VALIDATION}.items()
  assert config_lib.build(config_lib.nest(flat)) == two
  recipe = Recipe(two, {"only": {"train.steps": 9, **NEWS}})
  assert from_json(recipe.to_json()) == recipe


def test_overrides_set_and_add_groups_of_a_table(two):
  recipe = recipes.override(
    Recipe(two),
    overrides.parse(
      [
        "--config.data.sources.news.weight=2",
        "--config.data.sources.web.corpus=text:web,1/*.txt",
      ]
    ),
  )
  sources = recipe.base.data.sources
  assert sources["news"].weight == 2
  assert sources["web"] == SourceConfig("text:web,1/*.txt")
  assert list(sources) == ["news", "wiki", "web"]


def test_phases_change_weights_and_add_sources(two):
  phases = Recipe(
    two,
    {
      "one": {"train.steps": 9},
      "two": {"train.steps": 9, "data.sources.news.weight": 0.0},
      "three": {"train.steps": 9, "data.sources.web.corpus": "text:web"},
    },
  ).phases
  weights = [
    {name: source.weight for name, source in p.config.data.sources.items()}
    for p in phases
  ]
  assert weights == [
    {"news": 3.0, "wiki": 1.0},
    {"news": 0.0, "wiki": 1.0},
    {"news": 0.0, "wiki": 1.0, "web": 1.0},
  ]
  assert list(phases[2].config.data.corpora) == ["wiki", "web"]


def test_changed_names_each_key_of_a_group_that_is_new(two):
  more = dataclasses.replace(two.data.sources["news"], weight=4.0)
  data = dataclasses.replace(two.data, sources={"news": more})
  new = dataclasses.replace(two, data=data)
  changed = config_lib.changed(two, new)
  assert changed["data.sources.news.weight"] == (3.0, 4.0)
  assert changed["data.sources.wiki.corpus"] == ("jsonl:wiki.jsonl", None)
  assert {name.rpartition(".")[0] for name in changed} == {
    "data.sources.news",
    "data.sources.wiki",
  }
  assert config_lib.changed(new, two)["data.sources.wiki.text_field"] == (
    None,
    "body",
  )
  for boundary in ("restart", "phase"):
    config_lib.may_follow(two, new, boundary)


def test_each_corpus_has_a_configuration_of_its_own(two):
  corpora = two.data.corpora
  assert [(name, data.corpus) for name, data in corpora.items()] == [
    ("news", "text:news/*.txt"),
    ("wiki", "jsonl:wiki.jsonl"),
  ]
  assert corpora["wiki"].text_field == "body"
  assert corpora["wiki"].seq_len == two.data.seq_len
  (own,) = two.data.validation_corpora.values()
  assert (own.corpus, own.heldout_fraction) == ("text:own.txt", 0)


@pytest.mark.parametrize(
  ("keys", "said"),
  [
    (NEWS | {"data.corpus": "text:a"}, r"data\.corpus='text:a'.*news"),
    (NEWS | {"data.text_field": "a"}, r"text_field='a' has no effect.*NAME"),
    (NEWS | {"data.sources.news.weight": 0.0}, "weights of all sources are 0"),
    (NEWS | {"data.sources.news.weight": -1.0}, r"news\.weight must be >= 0"),
    (NEWS | {"data.sources.news.weight": float("inf")}, r"weight.*< inf"),
    (NEWS | {"data.sources.news.weight": float("nan")}, r"news\.weight.*nan"),
    ({"data.sources.news.weight": 1.0}, r"news\.corpus is empty"),
    (
      NEWS | {"data.sources.again.corpus": "text:news/*.txt"},
      r"data\.sources\.again.*data\.sources\.news",
    ),
    (
      NEWS | {"data.validation.own.corpus": "text:news/*.txt"},
      r"data\.validation\.own.*is trained on",
    ),
    (NEWS | {"data.sources.news.weigth": 1.0}, "mean 'data.sources.news.wei"),
    (NEWS | {"data.sources.news": "text:a"}, "must be a group of keys"),
    ({"data.size_exponent": 1.5}, "data.size_exponent must be"),
  ],
)
def test_invalid_tables_raise_input_error(make_config, keys, said):
  with pytest.raises(InputError, match=said) as error:
    make_config(**keys)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["ne-ws", "ne.ws", "", "né"])
def test_a_name_that_cannot_be_in_a_key_raises_input_error(name):
  config = config_lib.default().to_dict()
  config["data"]["sources"] = {name: {"corpus": "text:a"}}
  with pytest.raises(InputError, match="letters, digits"):
    config_lib.build(config)


@pytest.mark.parametrize(
  ("override", "said"),
  [
    ("data.sources.news.weigth=1", "mean 'data.sources.NAME.weight'"),
    ("data.sources.ne-ws.weight=1", "unknown configuration key"),
    ("data.sources.news.weight=x", "wants a number, not 'x'"),
    ("data.sources.news=text:a", "unknown configuration key"),
  ],
)
def test_invalid_overrides_of_tables_raise_input_error(override, said):
  with pytest.raises(InputError, match=said):
    overrides.parse([f"--config.{override}"])


def test_phases_cannot_add_validation_text(two):
  added = {"train.steps": 9, "data.validation.more.corpus": "text:more"}
  with pytest.raises(InputError, match=r"'two'.*data\.validation\.more"):
    Recipe(two, {"one": {"train.steps": 9}, "two": added})
  assert CorpusConfig("text:own.txt") == two.data.validation["own"]
