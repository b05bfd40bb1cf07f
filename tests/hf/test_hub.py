"""Models on the hub, and their revisions."""

import huggingface_hub
import pytest
from huggingface_hub import errors

from mlm_jax.errors import InputError
from mlm_jax.hf import hub


def test_a_revision_of_a_repository_is_downloaded(tmp_path, monkeypatch):
  asked = []

  def download(name, *, revision, allow_patterns):
    asked.append((name, revision))
    assert not any(
      pattern.endswith((".bin", ".py")) for pattern in allow_patterns
    )
    return str(tmp_path)

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  for revision in ("", "v2", "refs/pr/7"):
    assert hub.folder_of("someone/model", revision) == tmp_path
  assert asked == [
    ("someone/model", None),
    ("someone/model", "v2"),
    ("someone/model", "refs/pr/7"),
  ]


def test_a_revision_that_there_is_not_is_an_input_error(monkeypatch):
  def download(name, **_):
    response = type("Response", (), {"headers": {}, "request": None})()
    raise errors.RevisionNotFoundError("404", response=response)

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  with pytest.raises(InputError, match="--revision=v3"):
    hub.folder_of("someone/model", "v3")


def test_a_folder_has_no_revisions(tmp_path):
  with pytest.raises(InputError, match="--revision=v1 is of a repository"):
    hub.folder_of(str(tmp_path), "v1")
