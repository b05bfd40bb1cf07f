"""Models on the Hugging Face Hub: found there, or uploaded."""

import pathlib

from mlm_jax.errors import InputError, first_line, require

# The only files that are read: no pickle, no code.
_PATTERNS = ("*.json", "*.txt", "*.safetensors", "*.model")


def folder_of(
  source: str, revision: str = "", of: str = "--from"
) -> pathlib.Path:
  """Returns the folder of a model, downloaded if `source` is a repository.

  Args:
    source: a folder, or a repository name on the hub.
    revision: a branch, tag, commit or refs/pr/N of a repository.
    of: the option that named it, for error messages.

  Raises:
    InputError: there is no such folder, or it cannot be downloaded.
  """
  folder = pathlib.Path(source).expanduser()
  if folder.is_dir():
    require(
      not revision,
      f"--revision={revision} is of a repository: {of}={source} is a folder",
    )
    return folder
  if folder.is_file() or source.startswith((".", "/", "~")):
    raise InputError(f"{of}={source} is not a folder")
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
      f"{of}={source} is neither a folder nor a repository name on the hub"
    ) from error
  except errors.GatedRepoError as error:
    raise InputError(
      f"{of}={source} is gated: accept its terms on the hub, and log in "
      "with `hf auth login`"
    ) from error
  except errors.RevisionNotFoundError as error:
    raise InputError(f"{of}={source} has no --revision={revision}") from error
  except errors.RepositoryNotFoundError as error:
    raise InputError(
      f"{of}={source}: the hub has no such model, or it is private; log in "
      "with `hf auth login`"
    ) from error
  except (
    errors.LocalEntryNotFoundError,
    errors.HfHubHTTPError,
    OSError,
  ) as error:
    raise InputError(
      f"{of}={source} is not a local folder, and the hub cannot be reached"
    ) from error


def check_repository(name: str) -> None:
  """Raises InputError if nothing can be uploaded under a name."""
  import huggingface_hub
  from huggingface_hub import errors

  try:
    huggingface_hub.utils.validate_repo_id(name)
  except errors.HFValidationError as error:
    raise InputError(
      f"--push_to_hub={name} is no repository name, such as me/my_model"
    ) from error
  require(
    huggingface_hub.get_token(),
    f"--push_to_hub={name}: log in with `hf auth login` first",
  )


def push(folder: pathlib.Path, name: str) -> str:
  """Uploads a model folder; returns its address.

  Args:
    folder: what `export_hf` wrote.
    name: of the repository, which is made, private, if it is missing.

  Raises:
    InputError: the hub does not take it.
  """
  import huggingface_hub

  api = huggingface_hub.HfApi()
  try:
    made = api.create_repo(name, private=True, exist_ok=True)
    api.upload_folder(
      repo_id=made.repo_id,
      folder_path=folder,
      commit_message="Export of mlm_jax",
    )
  except Exception as error:  # Whatever the client of HTTP raises.
    reason = first_line(error)
    raise InputError(
      f"{folder} is written, but --push_to_hub={name} failed: {reason}"
    ) from error
  return str(made)
