"""A trained model is used from Python as the README shows."""

import pathlib
import re

import numpy as np
import pytest

from mlm_jax.errors import InputError
from mlm_jax.training.restoring import restore
from mlm_jax.workdir import Workdir

README = pathlib.Path(__file__).parents[2] / "README.md"


def test_the_readme_shows_the_python_api(trained):
  text = README.read_text().partition("## Python API")[2]
  code = re.search(r"\n((?:    .*\n|\n)+)", text)[1].replace("\n    ", "\n")
  assert "runs/quickstart" in code
  names = {}
  exec(code.strip().replace("runs/quickstart", str(trained)), names)
  assert names["model"].step == 60
  vectors = names["vectors"]
  assert vectors.shape == (2, names["model"].run.config.model.width)
  assert np.isfinite(vectors).all() and not np.allclose(*vectors)
  ((guess, *_),) = names["guesses"]
  assert 0 < guess[1] <= 1


def test_restore_selects_a_checkpoint(trained):
  assert restore(Workdir.at(trained), "30").step == 30
  with pytest.raises(InputError, match="31"):
    restore(Workdir.at(trained), "31")


def test_restore_uses_the_devices_at_hand(trained, on_eight_devices, tmp_path):
  for name in ("tokenizer", "checkpoints"):
    (tmp_path / name).symlink_to(trained / name)
  text = (trained / "config.json").read_text()
  for one, many in (
    ('"fsdp": 1', '"fsdp": 64'),
    ('"tensor": 1', '"tensor": 3'),
  ):
    assert one in text
    text = text.replace(one, many)
  (tmp_path / "config.json").write_text(text)
  run, *_ = restore(Workdir.at(tmp_path))
  assert run.mesh.size == 8
