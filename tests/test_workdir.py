"""Files and folders that are either whole or not there."""

import pytest
from etils import epath

from mlm_jax.errors import InputError
from mlm_jax.workdir import atomic_file, atomic_folder, write_atomically


@pytest.fixture
def root(tmp_path):
  return epath.Path(tmp_path)


def names(root):
  return sorted(path.name for path in root.iterdir())


def test_atomic_file_replaces_content_only_when_complete(root):
  path = root / "new" / "file"
  write_atomically(path, "old")
  with pytest.raises(ZeroDivisionError), atomic_file(path) as file:
    file.write(b"half")
    raise ZeroDivisionError
  assert path.read_text() == "old" and names(path.parent) == ["file"]
  with atomic_file(path) as file:
    file.write(b"new")
    assert path.read_text() == "old"
  assert path.read_text() == "new" and names(path.parent) == ["file"]


def test_atomic_file_names_the_file_that_cannot_be_written(root):
  write_atomically(root / "file", "")
  with (
    pytest.raises(InputError, match="--out"),
    atomic_file(root / "file" / "below", "--out"),
  ):
    pass


def test_atomic_folder_appears_only_when_complete(root):
  with pytest.raises(ZeroDivisionError), atomic_folder(root / "a") as partial:
    (partial / "file").write_text("")
    raise ZeroDivisionError
  assert names(root) == []
  (root / "a").mkdir()
  with atomic_folder(root / "a") as partial:
    (partial / "file").write_text("")
    assert names(root / "a") == []
  assert names(root) == ["a"] and names(root / "a") == ["file"]
  with (
    pytest.raises(InputError, match="already exists"),
    atomic_folder(root / "a"),
  ):
    pass


def test_atomic_folder_may_be_given_up(root):
  with atomic_folder(root / "a") as partial:
    partial.rmtree()
  assert names(root) == []


def test_atomic_folder_passes_on_errors_about_other_files(root):
  with pytest.raises(FileNotFoundError), atomic_folder(root / "a"):
    (root / "missing").read_text()
  write_atomically(root / "file", "")
  with (
    pytest.raises(InputError, match="cannot write"),
    atomic_folder(root / "file" / "below"),
  ):
    pass
