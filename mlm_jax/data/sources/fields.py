"""Examples with named fields; `data.text_field` says which is the text.

It is the name of a field, or a path such as doc.text, or a template such as
"{title}\n\n{body}".
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mlm_jax.errors import InputError

_IN_TEMPLATE = re.compile(r"\{([^{}]+)\}")


class TextField:
  """Finds the text of an example.

  Args:
    name: the value of `data.text_field`.
  """

  def __init__(self, name: str):
    self._name = name
    self._paths = _IN_TEMPLATE.findall(name)
    self._is_template = bool(self._paths)
    self._paths = self._paths or [name]

  def columns(self, present: Iterable[str], where: str) -> list[str]:
    """Returns which of the fields that are present are needed.

    Raises:
      InputError: one is missing; lists those present.
    """
    present, found = list(present), {}
    for path in self._paths:
      column = path if path in present else path.partition(".")[0]
      if column not in present:
        raise missing_field(self._name, present, where)
      found[column] = None
    return list(found)

  def text(self, example: Mapping[str, Any], where: str) -> str | None:
    """Returns the text of an example, None where the field is null.

    In a template, what is null is empty. Bytes are decoded as UTF-8, and lists
    of texts joined by line breaks.

    Args:
      example: its fields.
      where: what messages name.

    Raises:
      InputError: a field is missing, or holds no text.
    """
    texts = {path: self._at(example, path, where) for path in self._paths}
    if not self._is_template:
      return texts[self._name]
    if all(text is None for text in texts.values()):
      return None
    return _IN_TEMPLATE.sub(lambda match: texts[match[1]] or "", self._name)

  def _at(self, example, path, where) -> str | None:
    if path in example:
      return self._as_text(example[path], where)
    value, name = example, path
    while name:
      name, _, rest = name.partition(".")
      if value is None:
        return None
      if not isinstance(value, Mapping) or name not in value:
        present = value if isinstance(value, Mapping) else ()
        raise missing_field(self._name, present, where)
      value, name = value[name], rest
    return self._as_text(value, where)

  def _as_text(self, value, where) -> str | None:
    if value is None or isinstance(value, str):
      return value
    if isinstance(value, bytes):
      return value.decode(errors="surrogateescape")
    if hasattr(value, "tolist"):
      value = value.tolist()  # A NumPy array.
    if isinstance(value, list):
      texts = [self._as_text(one, where) for one in value]
      return "\n".join(text for text in texts if text is not None)
    raise InputError(
      f"{where}: data.text_field={self._name!r} must hold a text, a list of "
      f"them, or bytes, not {_shown(value)}"
    )


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


def _shown(value: Any) -> str:
  shown = repr(value)
  return shown if len(shown) <= 40 else f"{shown[:37]}..."
