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


def test_an_unknown_revision_is_an_input_error(monkeypatch):
  def download(name, **_):
    response = type("Response", (), {"headers": {}, "request": None})()
    raise errors.RevisionNotFoundError("404", response=response)

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  with pytest.raises(InputError, match="--revision=v3"):
    hub.folder_of("someone/model", "v3")


def test_a_folder_has_no_revisions(tmp_path):
  with pytest.raises(InputError, match="--revision=v1 is of a repository"):
    hub.folder_of(str(tmp_path), "v1")


class Hub:
  """Stands in for `huggingface_hub.HfApi`."""

  def __init__(self, error=None):
    self.calls, self.error = [], error

  def create_repo(self, name, **options):
    self.calls.append(("create", name, options))
    url = "https://huggingface.co/" + name
    return huggingface_hub.RepoUrl(url)

  def upload_folder(self, *, repo_id, folder_path, commit_message):
    if self.error:
      raise self.error
    self.calls.append(("upload", repo_id, folder_path))


def test_a_folder_is_pushed_to_a_private_repository(tmp_path, monkeypatch):
  api = Hub()
  monkeypatch.setattr(huggingface_hub, "HfApi", lambda: api)
  assert hub.push(tmp_path, "me/model").endswith("me/model")
  assert api.calls == [
    ("create", "me/model", {"private": True, "exist_ok": True}),
    ("upload", "me/model", tmp_path),
  ]


def test_a_push_that_fails_says_that_the_folder_is_written(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(
    huggingface_hub, "HfApi", lambda: Hub(RuntimeError("no route\nmore"))
  )
  with pytest.raises(InputError, match=r"is written, but .* failed: no route$"):
    hub.push(tmp_path, "me/model")


def test_a_push_is_refused_before_anything_is_exported(monkeypatch):
  monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
  with pytest.raises(InputError, match="no repository name"):
    hub.check_repository("a/b/c")
  with pytest.raises(InputError, match="log in"):
    hub.check_repository("me/model")
