"""Errors that end a command: in the user's input, or in training."""

import difflib
import re


class InputError(Exception):
  """The user's input cannot be used. One line; the command exits with 2."""


class TrainingError(Exception):
  """Training cannot go on. The lines say why; the command exits with 1."""


def unknown(kind: str, name, known, listed: str = "") -> InputError:
  """Returns the error for an unknown name, which suggests the closest one.

  Args:
    kind: what the name should have been, such as "command".
    name: what was given.
    known: all valid names.
    listed: the suggestion if none is close; by default the list of all.
  """
  names = [str(k) for k in known]
  near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
  if near:
    return InputError(f"unknown {kind} {name!r}; did you mean {near[0]!r}?")
  if not listed:
    listed = f"known: {', '.join(names)}" if names else "none is registered"
  return InputError(f"unknown {kind} {name!r}; {listed}")


def input_error_in(text: str) -> InputError | None:
  """Returns the InputError that another library has turned into text."""
  # Beam adds where it happened.
  found = re.search(
    rf"{InputError.__name__}: (.+?)( \[while running .*)?$", text, re.M
  )
  return InputError(found[1]) if found else None


def first_line(error: Exception) -> str:
  """Returns the first line of what another library says."""
  return str(error).strip().partition("\n")[0]


def require(condition: bool, message: str) -> None:
  """Raises an InputError with `message` unless `condition` holds."""
  if not condition:
    raise InputError(message)
