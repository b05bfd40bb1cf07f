"""The tables of the README name what the program has, and nothing else."""

import pathlib
import re

import pytest

from mlm_jax import config as config_lib
from mlm_jax import recipes, registry
from mlm_jax.cli.table import COMMANDS
from mlm_jax.models import attention

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()


def table(header):
  """Returns the rows of the table whose first line begins with `header`."""
  _, found, rest = README.partition(f"\n| {header} |")
  assert found, header
  lines = rest.split("\n")[2:]
  end = next(i for i, line in enumerate(lines) if not line.startswith("|"))
  return [line.strip("|").split(" | ") for line in lines[:end]]


def names(cell):
  return re.findall(r"`([\w.]+)", cell)


@pytest.mark.parametrize(
  ("header", "known"),
  [
    ("command", COMMANDS),
    ("group", config_lib.groups()),
    ("`data.corpus`", registry.CORPUS_FORMATS),
    ("`corruption.kind`", registry.CORRUPTIONS),
    ("`objective.name`", registry.OBJECTIVES),
    ("`optim.name`", registry.OPTIMIZERS),
    ("`optim.schedule`", registry.SCHEDULES),
    ("`model.attention`", attention.BACKENDS),
  ],
)
def test_a_table_names_all_there_is(header, known):
  first = [name for row in table(header) for name in names(row[0])]
  assert sorted(first) == sorted(known)


def test_the_commands_are_described_as_their_help_does():
  assert {
    names(name)[0]: about.strip() for name, about in table("command")
  } == {name: command.about for name, command in COMMANDS.items()}


def test_every_recipe_is_in_the_table_of_families():
  listed = [name for row in table("family") for name in names(row[1])]
  assert sorted(listed) == sorted(recipes.shipped())


def test_the_glossary_has_ten_terms_and_defines_each_once():
  terms = [term.strip() for term, _ in table("term")]
  assert len(terms) >= 10
  assert len(set(terms)) == len(terms)


def test_lines_of_text_have_80_columns():
  text = re.sub(r"(?m)^(\||!\[|    ).*$", "", README)
  assert [line for line in text.splitlines() if len(line) > 80] == []
