"""`tfds:python_docs`: English text that every Python installation includes."""

import ast
import pathlib
import sys
import sysconfig
from collections.abc import Iterator

import tensorflow_datasets as tfds

# Each version of Python has its own documentation, so its own configuration.
_PYTHON = f"py{sys.version_info.major}.{sys.version_info.minor}"


class PythonDocs(tfds.core.GeneratorBasedBuilder):
  """The running Python's language reference and standard-library docstrings.

  Nothing is downloaded. An example is one topic of `pydoc`, or all the
  docstrings of one module.
  """

  VERSION = tfds.core.Version("1.0.0")
  BUILDER_CONFIGS = (tfds.core.BuilderConfig(name=_PYTHON),)

  def _info(self) -> tfds.core.DatasetInfo:
    return self.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(
        {"title": tfds.features.Text(), "text": tfds.features.Text()}
      ),
      description=self.__doc__,
      homepage="https://docs.python.org/3/",
      license="PSF-2.0",
    )

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    for title, text in documents():
      yield title, {"title": title, "text": text}


def documents() -> Iterator[tuple[str, str]]:
  """Yields the title and the text of each topic and each documented module."""
  from pydoc_data import topics

  for title, text in sorted(topics.topics.items()):
    yield f"topics/{title}", text
  root = pathlib.Path(sysconfig.get_path("stdlib"))
  for path in sorted(root.rglob("*.py")):
    name = path.relative_to(root)
    if "site-packages" not in name.parts and (text := _docstrings(path)):
      yield name.as_posix(), text


def _docstrings(path: pathlib.Path) -> str:
  documented = (
    ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
  )
  try:
    tree = ast.parse(path.read_bytes())
  except (SyntaxError, ValueError):  # lib2to3 and others ship broken files.
    return ""
  found = [
    ast.get_docstring(node)
    for node in ast.walk(tree)
    if isinstance(node, documented)
  ]
  return "\n\n".join(text for text in found if text)
