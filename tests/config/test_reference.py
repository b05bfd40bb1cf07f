"""docs/keys.md documents every key as it is declared."""

import pathlib

from mlm_jax import config as config_lib
from mlm_jax.config import reference

DOCS = pathlib.Path(__file__).parents[2] / "docs"


def test_keys_md_is_what_the_declarations_generate():
  assert (DOCS / "keys.md").read_text() == reference.as_markdown(), (
    "run `make docs`"
  )


def test_the_reference_has_a_row_of_six_cells_for_each_key():
  lines = reference.as_markdown().splitlines()
  rows = [line for line in lines if line.startswith("| `")]
  names = [row.split("`")[1] for row in rows]
  assert names == list(config_lib.keys())
  for row, key in zip(rows, config_lib.keys().values(), strict=True):
    assert row.count("|") == 7, "a bar in a cell would end it"
    assert f" `{key.default!r}` |" in row
    assert row.endswith(f" {key.doc} |")


def test_lines_of_text_have_80_columns():
  lines = reference.as_markdown().splitlines()
  text = [line for line in lines if not line.startswith("|")]
  assert [line for line in text if len(line) > 80] == []
