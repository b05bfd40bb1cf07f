"""A sample of a source, from files that are spread over it."""

from typing import NamedTuple

from mlm_jax.config import DataConfig
from mlm_jax.data import sources
from mlm_jax.data.sources.documents import Report
from mlm_jax.errors import require

# Characters that are read of all sources, the least of one, and of how many
# files of it.
_SAMPLE_CHARS, _LEAST_CHARS, _MOST_FILES = 1 << 24, 1 << 18, 16


class Sample(NamedTuple):
  """Documents of a source.

  Attributes:
    documents: their texts.
    characters: those of the whole source, None if that is unknown.
    report: on the part that was read.
  """

  documents: list[str]
  characters: float | None
  report: Report

  @property
  def size(self) -> int:
    """The characters of the sample."""
    return sum(map(len, self.documents))


def read(data: DataConfig, num_sources: int) -> Sample:
  """Reads a sample of a source.

  Args:
    data: names the source.
    num_sources: how many there are, which share what is read.

  Raises:
    InputError: it cannot be read, or holds no text.
  """
  budget = max(_SAMPLE_CHARS // num_sources, _LEAST_CHARS)
  groups, report, documents = sources.groups(data), Report(), []
  if groups[0].paths is None:
    size = 0
    for text in sources.read_documents(data, report):
      documents.append(text)
      size += len(text)
      if size >= budget:
        return Sample(documents, None, report)
    return Sample(documents, float(size), report)
  paths = [path for group in groups for path in group.paths]
  total = sum(group.size for group in groups)
  count = min(len(paths), _MOST_FILES)
  chosen = [paths[n * len(paths) // count] for n in range(count)]
  for number, path in enumerate(chosen, 1):
    size = sum(map(len, documents))
    for text in sources.read_documents(data, report, [path]):
      documents.append(text)
      size += len(text)
      if size >= budget * number // count:
        break
  require(documents, f"data.corpus={data.corpus!r} holds no text")
  size = sum(map(len, documents))
  return Sample(documents, size * total / max(1, report.bytes_read), report)
