"""Finds a model's files in a local folder or on the Hugging Face Hub."""

import pathlib

from mlm_jax.errors import InputError, require

# The only files that are read: no pickle, no code.
_PATTERNS = ("*.json", "*.txt", "*.safetensors", "*.model")


def folder_of(source: str, revision: str = "") -> pathlib.Path:
  """Returns the folder of a model, downloaded if `source` is a repository.

  Args:
    source: a folder, or a repository name on the hub.
    revision: a branch, tag, commit or refs/pr/N of a repository.

  Raises:
    InputError: there is no such folder, or it cannot be downloaded.
  """
  folder = pathlib.Path(source).expanduser()
  if folder.is_dir():
    require(
      not revision,
      f"--revision={revision} is of a repository: --from={source} is a folder",
    )
    return folder
  if folder.is_file() or source.startswith((".", "/", "~")):
    raise InputError(f"--from={source} is not a folder")
  import huggingface_hub
  from huggingface_hub import errors

  try:
    return pathlib.Path(
      huggingface_hub.snapshot_download(
        source, revision=revision or None, allow_patterns=_PATTERNS
      )
    )
  except errors.HFValidationError as error:
    raise InputError(
      f"--from={source} is neither a folder nor a repository name on the hub"
    ) from error
  except errors.GatedRepoError as error:
    raise InputError(
      f"--from={source} is gated: accept its terms on the hub, and log in "
      "with `hf auth login`"
    ) from error
  except errors.RevisionNotFoundError as error:
    raise InputError(f"--from={source} has no --revision={revision}") from error
  except errors.RepositoryNotFoundError as error:
    raise InputError(
      f"--from={source}: the hub has no such model, or it is private; log in "
      "with `hf auth login`"
    ) from error
  except (
    errors.LocalEntryNotFoundError,
    errors.HfHubHTTPError,
    OSError,
  ) as error:
    raise InputError(
      f"--from={source} is not a local folder, and the hub cannot be reached"
    ) from error
