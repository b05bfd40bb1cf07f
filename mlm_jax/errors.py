"""What a user did wrong: one line each."""

import difflib


class InputError(Exception):
  """The user's input cannot be used. One line; the command exits with 2."""


def unknown(kind: str, name, known, listed: str = "") -> InputError:
  """Returns the error for a name that nobody knows, with the nearest one.

  Args:
    kind: what it should have been.
    name: what was given.
    known: all names.
    listed: what to say where none is near; else they are listed.
  """
  names = [str(k) for k in known]
  near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
  if near:
    return InputError(f"unknown {kind} {name!r}; did you mean {near[0]!r}?")
  listed = listed or f"known: {', '.join(names)}"
  return InputError(f"unknown {kind} {name!r}; {listed}")


def require(condition: bool, message: str) -> None:
  if not condition:
    raise InputError(message)
