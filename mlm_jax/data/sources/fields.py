"""Examples with named fields; `data.text_field` names that of the text."""

from collections.abc import Iterable

from mlm_jax.errors import InputError


def missing_field(name: str, fields: Iterable[str], where: str) -> InputError:
  """Returns the error for a missing text field, which lists those present.

  Args:
    name: the value of `data.text_field`.
    fields: the names of the fields present.
    where: the file or dataset, and the line if there are lines.
  """
  present = ", ".join(fields) or "none"
  return InputError(
    f"{where} has no field data.text_field={name!r}; its fields: {present}"
  )
