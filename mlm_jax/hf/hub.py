"""Where a model's files are: in a folder, or on the hub."""

import pathlib

from mlm_jax.errors import InputError

# All that is ever read; no pickle, no code.
_WANTED = ("*.json", "*.txt", "*.safetensors", "*.model")


def folder_of(source: str) -> pathlib.Path:
  """Returns the folder of a model, downloaded if `source` is a name.

  Raises:
    InputError: there is no such folder, or the hub does not give it.
  """
  folder = pathlib.Path(source).expanduser()
  if folder.is_dir():
    return folder
  if folder.is_file() or source.startswith((".", "/", "~")):
    raise InputError(f"--from={source} is no folder")
  import huggingface_hub
  from huggingface_hub import errors

  try:
    return pathlib.Path(
      huggingface_hub.snapshot_download(source, allow_patterns=_WANTED)
    )
  except errors.HFValidationError as error:
    raise InputError(
      f"--from={source} is neither a folder nor a name on the hub"
    ) from error
  except errors.GatedRepoError as error:
    raise InputError(
      f"{source} is gated: accept its terms on the hub, and log in with "
      "`hf auth login`"
    ) from error
  except errors.RepositoryNotFoundError as error:
    raise InputError(
      f"the hub has no model {source!r}, or it is private: `hf auth login`"
    ) from error
  except (
    errors.LocalEntryNotFoundError,
    errors.HfHubHTTPError,
    OSError,
  ) as error:
    raise InputError(
      f"{source} is no folder here, and the hub cannot be reached for it"
    ) from error
