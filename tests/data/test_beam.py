"""Apache Beam writes the same rows. `make test-beam` installs it."""

import json

import loky
import pytest

from mlm_jax import api, phases
from mlm_jax.data import beam, sources
from mlm_jax.data import prepare as prepare_lib
from mlm_jax.errors import InputError
from mlm_jax.workdir import Workdir
from tests.data.test_blocks import content, prepare, run_of, small_blocks

__all__ = ["run_of", "small_blocks"]

pytest.importorskip("apache_beam", reason="an extra of its own")
pytestmark = pytest.mark.slow


def test_beam_writes_the_same_rows(run_of, small_blocks, tmp_path, monkeypatch):
  """Where the corpus is read in several groups of files."""
  monkeypatch.setattr(sources, "_GROUP_BYTES", 30_000)
  monkeypatch.setattr(loky, "cpu_count", lambda: 1)
  whole = prepare(run_of(), tmp_path / "whole")
  numbers = json.loads((whole.path / "rows.json").read_text())["blocks"]
  assert len({n >> 20 for n in numbers["train"][0]}) == 2
  config = run_of(**{"data.rows_dir": str(tmp_path / "beam")})
  recipe = phases.Recipe(config)
  api.prepare(recipe, tmp_path / "w", beam_options=["--runner=DirectRunner"])
  _, stores = prepare_lib.load(config, Workdir.at(tmp_path / "w"))
  assert content(stores.sources[""]) == content(whole)


def test_machines_that_write_elsewhere_lose_no_text(
  run_of, tmp_path, monkeypatch
):
  monkeypatch.setattr(beam, "write_atomically", lambda path, text: None)
  with pytest.raises(InputError, match=r"do not write to .*data\.rows_dir"):
    api.prepare(
      phases.Recipe(run_of()), tmp_path, beam_options=["--runner=DirectRunner"]
    )


def test_beams_errors_are_one_line(run_of, tmp_path):
  recipe = phases.Recipe(run_of())
  (tmp_path / "part1.txt").write_bytes(b"\0\xff" * 2_000)
  for runner, part in (
    ("NoRunner", "NoRunner"),
    ("DirectRunner", "part1.txt is not UTF-8 text"),
  ):
    with pytest.raises(InputError, match=part) as error:
      api.prepare(recipe, tmp_path, beam_options=[f"--runner={runner}"])
    assert "\n" not in str(error.value)
